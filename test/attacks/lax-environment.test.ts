import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import { afterEach, beforeEach, expect } from 'vitest'
import { ask } from '../../certs-tool/admin-client.ts'
import { writeNewFiles } from '../../certs-tool/key-files.ts'
import { ClusterTrustState } from '../../client/membership/cluster-trust.ts'
import { makeKey } from '../../client/membership/node-identity.ts'
import type { LinkHost } from '../../client/peer/link-host.ts'
import { dialPeer } from '../../client/peer/peer-dial.ts'
import { issueLeaf, type KeyedCertificate, makeAuthority } from '../../core/issue-certificate.ts'
import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import { openRegistries } from '../../core/registry-client.ts'
import { registryConfig } from '../../core/registry-config.ts'
import type { TokenKeys } from '../../core/token-keys.ts'
import type { Peer } from '../../core/tracker-api.ts'
import { issueForLocalhost } from '../../lab/machine/localhost-certificate.ts'
import { unwatchedTracker } from '../client/membership/unwatched-tracker.ts'
import { noteDefects } from '../core/noted-defects.ts'
import { BLOB, REPOSITORY } from '../core/test-registry.ts'
import { attackTest, controlTest } from './ledger.ts'
import { loot } from './loot.ts'

/** Node's own switch that turns verification off. Whoever can set it for a service must not blind it by that. */
const SWITCH = 'NODE_TLS_REJECT_UNAUTHORIZED'
let impostor: { port: number; requests: number; authority: KeyedCertificate; close(): void }

beforeEach(async () => {
  process.env[SWITCH] = '0'
  const authority = await makeAuthority({ commonName: 'impostor', validForSeconds: 600 })
  const leaf = await issueForLocalhost(authority)
  const server = createServer({ cert: leaf.certificatePem, key: leaf.privateKeyPem }, (socket) => {
    socket.on('error', () => undefined)
    // Whatever is said to the impostor is what it gains.
    socket.once('data', (chunk) => {
      loot.bytes += chunk.length
      impostor.requests += 1
      socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}')
    })
  })
  server.on('tlsClientError', () => undefined)
  server.listen(0, 'localhost')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  impostor = { port, requests: 0, authority, close: () => server.close() }
})
afterEach(() => {
  delete process.env[SWITCH]
  impostor.close()
})

controlTest(
  'the same registry with its authority configured is asked: the attacks fail for the right reason',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'shoal-lax-'))
    const caFile = join(folder, 'ca.pem')
    writeFileSync(caFile, impostor.authority.certificatePem)
    const config = registryConfig.parse({ host: `localhost:${impostor.port}`, caFile })
    const registry = openRegistries([config]).get(config.host)!
    await registry.headBlob({ repository: REPOSITORY, digest: BLOB, authorization: 'Bearer secret' })
    await registry.close()
    rmSync(folder, { recursive: true })
    expect(impostor.requests).toBe(1)
  },
)

attackTest('a registry with a certificate of a stranger is asked nothing', async () => {
  const config = registryConfig.parse({ host: `localhost:${impostor.port}` })
  const registry = openRegistries([config]).get(config.host)!
  const head = registry.headBlob({ repository: REPOSITORY, digest: BLOB, authorization: 'Bearer secret' })
  await expect(head).rejects.toMatchObject({ code: 'REGISTRY_UNREACHABLE' })
  await registry.close()
  expect(impostor.requests).toBe(0)
})

attackTest('a tracker with a certificate of a stranger is asked nothing', async () => {
  const tracker = unwatchedTracker({
    trackerUrl: `https://localhost:${impostor.port}`,
    trackerCaPem: undefined,
  })
  const joining = tracker.join({ joinToken: 'secret', publicKey: makeKey().spki.toString('base64url') })
  await expect(joining).rejects.toMatchObject({ code: 'TRACKER_UNAVAILABLE' })
  await tracker.close()
  expect(impostor.requests).toBe(0)
})

attackTest('a peer with a certificate of a stranger gets no link', async () => {
  const own = await makeAuthority({ commonName: 'own', validForSeconds: 600 })
  const client = await issueLeaf(own, {
    commonName: 'client',
    validForSeconds: 600,
    names: [],
    usages: ['clientAuth'],
  })
  const trust = new ClusterTrustState({ adopt: () => undefined } as unknown as TokenKeys)
  trust.update({ authorities: [own.certificatePem], batchKeys: [], tokenKeys: [] })
  const peer: Peer = {
    node: 'a'.repeat(40) as NodeId,
    address: 'localhost',
    port: impostor.port,
    isSeed: true,
  }
  const outcome = await new Promise<string>((resolve) => {
    dialPeer(peer, {
      host: { swarm: 'b'.repeat(40), ...noteDefects() } as unknown as LinkHost,
      credential: trust.credential(client.certificatePem, client.privateKeyPem, 600),
      onLink: () => resolve('linked'),
      onLate: () => undefined,
      onFailed: (error) => resolve((error as { code?: string }).code ?? error.message),
    })
  })
  expect(outcome).toMatch(/UNABLE_TO|SELF_SIGNED|DEPTH_ZERO/)
})

attackTest("the tool does not give a join token's hash to a stranger on the admin API's port", async () => {
  const folder = mkdtempSync(join(tmpdir(), 'shoal-lax-'))
  const own = await makeAuthority({ commonName: 'own', validForSeconds: 600 })
  const admin = await issueLeaf(own, {
    commonName: 'admin',
    validForSeconds: 600,
    names: [],
    usages: ['clientAuth'],
  })
  const content = [admin.privateKeyPem, admin.certificatePem, own.certificatePem].join('\n')
  const pemFile = join(folder, 'admin.pem')
  writeNewFiles([{ path: pemFile, content, isSecret: true }], false)
  const access = { url: `https://localhost:${impostor.port}`, pemFile }
  const cluster = { cluster: `c${'0'.repeat(16)}` as ClusterId, name: 'x', joinTokenHash: '0'.repeat(64) }
  await expect(ask(access, 'clusters.create', cluster)).rejects.toMatchObject({ code: 'ADMIN_UNAVAILABLE' })
  expect(impostor.requests).toBe(0)
  rmSync(folder, { recursive: true })
})
