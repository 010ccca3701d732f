import { answerLines } from '../measure/answer-lines.ts'
import { type BlobRegistry, startBlobRegistry } from '../measure/blob-registry.ts'
import type { LoadSettings, RegistryAnswer } from './questions.ts'

/** A registry that tells who may read which blobs; the tracker never reads one. */

let registry: BlobRegistry | undefined

async function open(tls: { certificatePem: string; privateKeyPem: string }): Promise<RegistryAnswer> {
  registry = await startBlobRegistry(tls)
  return { host: registry.host, tokenKeys: registry.tokenKeys }
}

async function add({ images }: Pick<LoadSettings, 'images'>) {
  for (const { digest, bytes } of images.flat()) {
    registry!.add({ name: digest.slice('sha256:'.length), path: '/dev/null', bytes })
  }
  return {}
}

async function tokens({ count }: { count: number }) {
  return { tokens: await Promise.all(Array.from({ length: count }, () => registry!.issueToken())) }
}

await answerLines({ open, add, tokens }, async () => registry?.close())
