import { createHash } from 'node:crypto'
import {
  createReadStream,
  createWriteStream,
  mkdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { Transform, type TransformCallback } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type Digest, digestFromHex, digestHex, parseDigest } from '../../core/digest.ts'
import { LabPartError } from '../errors.ts'
import type { AskedBlob, ClientJob } from './client.ts'
import type { RegistrySession } from './registry-session.ts'

/** Pulls and pushes of one image, between a registry and an OCI image layout (image-spec, "Image Layout"). */

type Job = Pick<ClientJob, 'repository' | 'tag' | 'layout'>

interface Manifest {
  mediaType: string
  config: { digest: string }
  layers: { digest: string }[]
}

const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json'
/** As dockerd's `max-concurrent-downloads`. */
const DOWNLOADS_AT_ONCE = 3

/** @throws LabPartError when the registry refuses, or when content does not match its digest */
export async function pullImage(session: RegistrySession, job: Job): Promise<void> {
  mkdirSync(blobsOf(job), { recursive: true, mode: 0o700 })
  const { body, headers } = await session.expect(
    { method: 'GET', path: `/v2/${job.repository}/manifests/${job.tag}`, headers: { accept: MANIFEST_TYPE } },
    200,
  )
  const bytes = Buffer.from(await body.arrayBuffer())
  const digest = digestFromHex(createHash('sha256').update(bytes).digest('hex'))
  if (headers['docker-content-digest'] !== digest)
    throw new LabPartError('the manifest is not what was named')
  writeFileSync(fileOf(job, digest), bytes)
  const wanted = blobsIn(JSON.parse(bytes.toString()) as Manifest)
  const worker = async () => {
    for (let next = wanted.shift(); next !== undefined; next = wanted.shift())
      await pullBlob(session, job, next)
  }
  await Promise.all(Array.from({ length: DOWNLOADS_AT_ONCE }, worker))
}

async function pullBlob(session: RegistrySession, job: Job, digest: Digest): Promise<void> {
  const { body } = await session.expect({ method: 'GET', path: `/v2/${job.repository}/blobs/${digest}` }, 200)
  const hash = createHash('sha256')
  const hashing = new Transform({
    transform(chunk: Buffer, _encoding, done: TransformCallback) {
      hash.update(chunk)
      done(null, chunk)
    },
  })
  const draft = `${fileOf(job, digest)}.part`
  await pipeline(body, hashing, createWriteStream(draft, { mode: 0o600 }))
  if (digestFromHex(hash.digest('hex')) !== digest) throw new LabPartError(`${digest} is not what was named`)
  await rename(draft, fileOf(job, digest))
}

export async function pushImage(session: RegistrySession, job: Job): Promise<void> {
  const index = JSON.parse(readFileSync(join(job.layout, 'index.json'), 'utf8')) as {
    manifests: { digest: string }[]
  }
  const bytes = readFileSync(fileOf(job, parseDigest(index.manifests[0]!.digest)))
  for (const digest of blobsIn(JSON.parse(bytes.toString()) as Manifest)) await pushBlob(session, job, digest)
  const path = `/v2/${job.repository}/manifests/${job.tag}`
  const headers = { 'content-type': MANIFEST_TYPE }
  await (await session.expect({ method: 'PUT', path, headers, body: () => bytes }, 201)).body.dump()
}

/** distribution-spec, "POST then PUT". */
async function pushBlob(session: RegistrySession, job: Job, digest: Digest): Promise<void> {
  const begun = await session.expect({ method: 'POST', path: `/v2/${job.repository}/blobs/uploads/` }, 202)
  await begun.body.dump()
  const file = fileOf(job, digest)
  const headers = {
    'content-type': 'application/octet-stream',
    'content-length': String(statSync(file).size),
  }
  const path = `${begun.headers.location}?digest=${digest}`
  const done = await session.expect({ method: 'PUT', path, headers, body: () => createReadStream(file) }, 201)
  await done.body.dump()
}

/** Asks for a blob without regard to the manifest's answer. */
export async function askFor(
  session: RegistrySession,
  { repository, tag, blob }: Pick<ClientJob, 'repository' | 'tag' | 'blob'>,
): Promise<AskedBlob> {
  const manifest = await session.request({ method: 'GET', path: `/v2/${repository}/manifests/${tag}` })
  await manifest.body.dump()
  const answer = await session.request({ method: 'GET', path: `/v2/${repository}/blobs/${blob}` })
  let bytes = 0
  for await (const chunk of answer.body as AsyncIterable<Buffer>) bytes += chunk.length
  const isContent = answer.statusCode === 200 || answer.statusCode === 206
  return {
    manifestStatus: manifest.statusCode,
    blobStatus: answer.statusCode,
    bytes: isContent ? bytes : 0,
  }
}

function blobsIn({ config, layers }: Manifest): Digest[] {
  return [...new Set([config, ...layers].map(({ digest }) => parseDigest(digest)))]
}

const blobsOf = ({ layout }: Job) => join(layout, 'blobs', 'sha256')
const fileOf = (job: Job, digest: Digest) => join(blobsOf(job), digestHex(digest))
