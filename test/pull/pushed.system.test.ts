import { afterEach, expect, test } from 'vitest'
import { openRegistries, type RegistryClients } from '../../core/registry-client.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import type { RunningProxy } from '../../proxy/proxy.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import { askThrough } from '../proxy/test-proxy.ts'
import { type DockerRegistry, startDockerRegistry } from './docker-registry.ts'
import { startNodeProxy } from './node-proxy.ts'
import { progressOf, pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

const it = test.skipIf(mustSkipFor(['docker-registry']))

/** A push through the proxy to Debian's docker-registry, with its own upload addresses and a password. */
const MIB = 1024 * 1024
const BLOB_BYTES = 8 * MIB + 17
/** `htpasswd -nbB -C 5 alice 'right horse'` */
const LINE = 'alice:$2y$05$ECqVai6Un5Zw63kNs6hCoOpqdI2BG/rs7vcmv1i53k/gqN6sSrNuq'
const VALUE = Buffer.from('alice:right horse').toString('base64')
const headers = { authorization: `Basic ${VALUE}` }

let docker: DockerRegistry
let cluster: TestCluster
let registries: RegistryClients
let proxy: RunningProxy
afterEach(async () => {
  await proxy?.close()
  for (const registry of registries?.values() ?? []) await registry.close()
  await cluster?.close()
  await docker?.close()
})

it('a layer that was pushed to docker-registry comes to the first reader from the pushing node alone', async () => {
  docker = await startDockerRegistry({ kind: 'introspect', user: { line: LINE, ...headers } })
  cluster = await startTestCluster({ nodes: 0, registryConfig: docker.config })
  registries = openRegistries([docker.config])
  const pusher = await cluster.addNode({ client: { registries } })
  const reader = await cluster.addNode()
  const started = await startNodeProxy(pusher.client, registries)
  proxy = started.proxy
  const via = { port: proxy.address.port, host: docker.config.host, caPem: started.caPem }
  const ask = (rest: Omit<Parameters<typeof askThrough>[1], 'headers'>) =>
    askThrough(via, { ...rest, headers })
  const blob = randomBlob(BLOB_BYTES)
  const begun = await ask({ method: 'POST', path: `/v2/${REPOSITORY}/blobs/uploads/` })
  const sent = await ask({ method: 'PATCH', path: targetOf(begun), body: blob.bytes })
  expect(sent.status).toBe(202)
  const put = { method: 'PUT', path: targetOf(sent, blob.digest) }
  expect((await ask(put)).status).toBe(201)
  const descriptor = { mediaType: 'application/octet-stream', digest: blob.digest, size: BLOB_BYTES }
  const mediaType = 'application/vnd.oci.image.manifest.v1+json'
  const manifest = JSON.stringify({ schemaVersion: 2, mediaType, config: descriptor, layers: [descriptor] })
  const path = `/v2/${REPOSITORY}/manifests/v1`
  const released = await askThrough(via, {
    method: 'PUT',
    path,
    body: manifest,
    headers: { ...headers, 'content-type': mediaType },
  })
  expect(released.status).toBe(201)
  await expect.poll(() => progressOf(pusher, blob)?.state, { timeout: 5000 }).toBe('complete')
  // Its hashes are published right after.
  await new Promise((resolve) => setTimeout(resolve, 500))
  const request = cluster.request(blob, { credential: { scheme: 'basic', value: VALUE } })
  expect((await pull(reader, request)).equals(blob.bytes)).toBe(true)
  expect(progressOf(reader, blob)).toMatchObject({ bytesFromRegistry: 0, bytesFromPeers: BLOB_BYTES })
}, 60_000)

function targetOf(
  { headers: { location } }: Awaited<ReturnType<typeof askThrough>>,
  digest?: string,
): string {
  const url = new URL(String(location))
  if (digest !== undefined) url.searchParams.set('digest', digest)
  return url.pathname + url.search
}
