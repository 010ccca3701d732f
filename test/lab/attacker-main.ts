import { readFileSync } from 'node:fs'
import { get } from 'node:https'
import { createInterface } from 'node:readline'
import type { Digest } from '../../core/digest.ts'
import type { RegistryHost, Repository } from '../../core/repository.ts'
import { enrol, type Member, type Surroundings } from '../attacks/attacker.ts'
import { askPull, publishLie, refusalOf, slander } from '../attacks/liar.ts'
import { startHostileUploader } from '../pull/hostile-uploader.ts'

/**
 * A hostile member of a lab's cluster, to be run on one of its hosts. Argument: a file with its options, as JSON. Prints
 * `{"node"}` when its lie is told; each line on standard input makes it ask for a pull until it is refused, and print
 * `{"refusal"}`.
 */

export interface AttackOptions {
  /** `liar`: publishes a wrong hash and serves the bytes that it is of. `slanderer`: calls a right hash wrong. */
  role: 'liar' | 'slanderer'
  trackerUrl: string
  trackerCaFile: string
  joinTokenFile: string
  registry: RegistryHost
  repository: Repository
  registryCaFile: string
  /** Gives a token to who shows `basic`. */
  tokenUrl: string
  basic: string
  digest: Digest
  /** Holds the blob as it is in the registry. */
  blobFile: string
}

const options = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as AttackOptions
const { registry, repository, digest } = options
const blob = { digest, bytes: readFileSync(options.blobFile) }
const credential = { scheme: 'bearer' as const, token: await askToken(options) }
const cluster: Surroundings = {
  nodeOptions: () => ({
    trackerUrl: options.trackerUrl,
    trackerCaPem: readFileSync(options.trackerCaFile, 'utf8'),
    joinToken: readFileSync(options.joinTokenFile, 'utf8').trim(),
  }),
  request: ({ digest, bytes }) => ({ registry, repository, digest, bytes: bytes.length, credential }),
}
const member = await enrol(cluster)
if (options.role === 'liar') await lie(member)
else {
  await askPull(member, cluster, blob)
  await slander(member, cluster, blob)
}
say({ node: member.node })
createInterface({ input: process.stdin }).on('line', async () => {
  say({ refusal: await refusalOf(member, cluster, blob) })
})

async function lie(liar: Member): Promise<void> {
  const told = await publishLie(liar, cluster, blob)
  await startHostileUploader(cluster, told, 'first-piece', '0.0.0.0')
}

function say(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

function askToken({ tokenUrl, basic, registryCaFile }: AttackOptions): Promise<string> {
  const request = { ca: readFileSync(registryCaFile), headers: { authorization: `Basic ${basic}` } }
  return new Promise((resolve, reject) => {
    get(tokenUrl, request, async (response) => {
      let text = ''
      for await (const chunk of response) text += chunk
      resolve((JSON.parse(text) as { token: string }).token)
    }).once('error', reject)
  })
}
