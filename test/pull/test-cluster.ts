import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jwtVerify } from 'jose'
import pino from 'pino'
import { Client as HttpClient } from 'undici'
import type { z } from 'zod'
import type { BlobRequest } from '../../client/client.ts'
import { type Client, type ClientOptions, startClient } from '../../client/index.ts'
import { type Digest, digestFromHex } from '../../core/digest.ts'
import { makeAuthority } from '../../core/issue-certificate.ts'
import { openRegistries, type RegistryClients } from '../../core/registry-client.ts'
import type { RegistryConfig } from '../../core/registry-config.ts'
import { ADMIN_SOCKET } from '../../core/tracker-sockets.ts'
import { issueForLocalhost } from '../../lab/machine/localhost-certificate.ts'
import { type TrackerConfig, trackerConfig } from '../../tracker/config.ts'
import { type RunningTracker, startTracker } from '../../tracker/main.ts'
import { makeSigner, pullClaims, type Signer } from '../core/signed-tokens.ts'
import { REPOSITORY, startTestRegistry, type TestRegistry } from '../core/test-registry.ts'

/** A registry with blobs, a tracker and nodes, all real, on loopback, for stories about pulls. */
export interface TestCluster {
  registry: BlobRegistry
  tracker: RunningTracker
  signer: Signer
  nodes: TestNode[]
  folder: string
  addNode(options?: {
    name?: string
    joinToken?: string
    registry?: Partial<RegistryConfig>
    client?: Partial<ClientOptions>
  }): Promise<TestNode>
  /** What `startClient` wants, without what cannot cross a process boundary. */
  nodeOptions(name: string): object
  /** @param changes of its settings */
  restartTracker(changes?: Partial<TrackerConfig>): Promise<void>
  stopTracker(): Promise<void>
  /** Another tracker on the same database; `options.tracker` names one. Nodes are told of it by `client.trackerUrl`. */
  addTracker(): Promise<RunningTracker>
  newCluster(): Promise<{ cluster: string; joinToken: string }>
  /** The cluster that the nodes are in. */
  id: string
  /** A call of the admin API, as the operator; POST unless told otherwise. */
  admin(
    path: string,
    body: object,
    method?: 'POST' | 'PUT' | 'DELETE',
  ): Promise<{ status: number; body: unknown }>
  request(blob: TestBlob, changes?: Partial<BlobRequest>): BlobRequest
  close(): Promise<void>
}

export interface TestNode {
  name: string
  client: Client
  dataDir: string
  stop(): Promise<void>
}

export interface TestBlob {
  digest: Digest
  bytes: Buffer
}

/** Counts what leaves it; serves ranges; verifies every token with jose. */
export interface BlobRegistry extends TestRegistry {
  /** @param repository that alone has it; without one every repository does */
  add(bytes: Buffer, repository?: string): TestBlob
  /** With kind `introspect`: the Authorization headers that are let in; '' lets in strangers. */
  accepted: Set<string>
  /** Bytes of GET bodies sent so far, by digest. */
  sentBytes: Map<string, number>
  isDown: boolean
  /** Answers with the whole blob, whatever part is asked for. */
  ignoresRange: boolean
  /** Bodies go out 64 KiB at a time with this pause between them; 0 sends them at once. */
  chunkPauseMs: number
  /** Goes down, and breaks off the answers under way. */
  cut(): void
}

/** How the registry recognises callers. `none` is configured so; `open` serves everybody and is not. */
export type BlobRegistryKind = 'token' | 'introspect' | 'none' | 'open'

const SLOW_CHUNK_BYTES = 64 * 1024

export function randomBlob(bytes: number): TestBlob {
  const content = randomBytes(bytes)
  return { bytes: content, digest: digestFromHex(createHash('sha256').update(content).digest('hex')) }
}

export async function startBlobRegistry(
  signer: Signer,
  kind: BlobRegistryKind = 'token',
): Promise<BlobRegistry> {
  const blobs = new Map<string, Buffer>()
  const homes = new Map<string, string | undefined>()
  const sentBytes = new Map<string, number>()
  const answering = new Set<ServerResponse>()
  const door = async (request: IncomingMessage, response: ServerResponse) => {
    if (registry.isDown) return void request.socket.destroy()
    const [, repository, digest = ''] = /^\/v2\/(.+)\/blobs\/(.+)$/.exec(request.url ?? '') ?? []
    if (kind === 'token' && !(await isAllowed(signer, request, repository))) {
      return void response
        .writeHead(401, { 'www-authenticate': 'Bearer realm="https://token.example"' })
        .end()
    }
    if (kind === 'introspect' && !registry.accepted.has(request.headers.authorization ?? ''))
      return void response
        .writeHead(401, { 'www-authenticate': 'Bearer realm="https://token.example"' })
        .end()
    const blob = blobs.get(digest)
    if (!blob || (homes.get(digest) ?? repository) !== repository) return void response.writeHead(404).end()
    const asked = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '')
    const range = registry.ignoresRange ? null : asked
    const [from, to] = range ? [Number(range[1]), Number(range[2]) + 1] : [0, blob.length]
    const headers = {
      'content-length': to - from,
      ...(range ? { 'content-range': `bytes ${from}-${to - 1}/${blob.length}` } : {}),
    }
    response.writeHead(range ? 206 : 200, headers)
    if (request.method === 'HEAD') return void response.end()
    const sent = (bytes: number) => sentBytes.set(digest, (sentBytes.get(digest) ?? 0) + bytes)
    answering.add(response)
    response.once('close', () => answering.delete(response))
    let at = from
    while (registry.chunkPauseMs > 0 && at < to && !response.destroyed) {
      const chunk = blob.subarray(at, Math.min(to, at + SLOW_CHUNK_BYTES))
      response.write(chunk)
      sent(chunk.length)
      at += chunk.length
      await new Promise((resolve) => setTimeout(resolve, registry.chunkPauseMs))
    }
    if (response.destroyed) return
    sent(to - at)
    response.end(blob.subarray(at, to))
  }
  const registry: BlobRegistry = Object.assign(
    await startTestRegistry(door, kind === 'none' ? { kind } : {}),
    {
      accepted: new Set<string>(),
      sentBytes,
      isDown: false,
      ignoresRange: false,
      chunkPauseMs: 0,
      cut() {
        registry.isDown = true
        for (const response of answering) response.destroy()
      },
      add(bytes: Buffer, repository?: string): TestBlob {
        const digest = digestFromHex(createHash('sha256').update(bytes).digest('hex'))
        blobs.set(digest, bytes)
        homes.set(digest, repository)
        return { digest, bytes }
      },
    },
  )
  return registry
}

async function isAllowed(signer: Signer, request: IncomingMessage, repository?: string): Promise<boolean> {
  try {
    const jwt = request.headers.authorization?.replace(/^Bearer /, '') ?? ''
    const { payload } = await jwtVerify(jwt, signer.publicKey, {
      issuer: 'token server',
      audience: 'registry',
    })
    const access = payload.access as { name: string; actions: string[] }[]
    return access.some(({ name, actions }) => name === repository && actions.includes('pull'))
  } catch {
    return false
  }
}

export function makeJoinToken(): { cluster: string; joinToken: string; joinTokenHash: string } {
  const cluster = `c${randomBytes(8).toString('hex')}`
  const joinToken = `SHOAL-1-${cluster}-${randomBytes(32).toString('base64url')}`
  return { cluster, joinToken, joinTokenHash: createHash('sha256').update(joinToken).digest('hex') }
}

export async function startTestCluster(options: {
  nodes: number
  algorithm?: string
  kind?: BlobRegistryKind
  /** Another registry than the one that comes with the cluster. */
  registryConfig?: RegistryConfig
  /** Tracker and nodes know the registry's token key: its signature is enough for a grant. */
  configuresKeys?: boolean
  logLevel?: string
  leaseSeconds?: number
  /** Default: one second. */
  heartbeatSeconds?: number
  /** Shorter than operators may set it. */
  pullCertificateSeconds?: number
  /** Default: the first pull under a new token key waits for its probe, so that its nodes verify the token itself. */
  probePauseMs?: number
  logTo?: pino.DestinationStream
  tracker?: Partial<Omit<z.input<typeof trackerConfig>, 'listen' | 'adminListen'>>
}): Promise<TestCluster> {
  const folder = mkdtempSync(join(tmpdir(), 'shoal-cluster-'))
  const level = options.logLevel ?? process.env.SHOAL_TEST_LOG ?? 'silent'
  const log = pino({ level }, options.logTo ?? pino.destination(2))
  const signer = makeSigner(options.algorithm ?? 'ES256')
  const registry = await startBlobRegistry(signer, options.kind)
  const jwks = JSON.stringify({ keys: [signer.publicJwk] })
  const keys = () => ({
    ...{ issuer: 'token server', audience: 'registry' },
    tokenKeysFile: registry.writeFile('token-keys.json', jwks),
  })
  const registryConfig = options.registryConfig ?? {
    ...registry.config,
    ...(options.configuresKeys ? keys() : {}),
  }
  const authority = await makeAuthority({ commonName: 'tracker authority', validForSeconds: 3600 })
  const leaf = await issueForLocalhost(authority)
  const write = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const config = trackerConfig.parse({
    listen: '127.0.0.1:0',
    adminListen: '127.0.0.1:0',
    tlsCertFile: write('tracker.crt', leaf.certificatePem),
    tlsKeyFile: write('tracker.key', leaf.privateKeyPem),
    dataDir: join(folder, 'tracker'),
    unlockKeyFile: write('unlock', `SHOALKEY-1-${randomBytes(32).toString('base64url')}`),
    registries: [registryConfig],
    heartbeatSeconds: options.heartbeatSeconds ?? 1,
    leaseSeconds: options.leaseSeconds ?? 10,
    ...options.tracker,
  })
  if (options.pullCertificateSeconds) config.pullCertificateSeconds = options.pullCertificateSeconds
  const surroundings = { probePauseMs: options.probePauseMs ?? 0 }
  let tracker: RunningTracker | undefined = await startTracker(config, log, surroundings)
  const port = tracker.address.port
  const main = makeJoinToken()
  const create = ({ cluster, joinTokenHash }: { cluster: string; joinTokenHash: string }) =>
    tracker!.createCluster({ cluster, name: cluster, joinTokenHash } as Parameters<
      RunningTracker['createCluster']
    >[0])
  await create(main)

  const opened: RegistryClients[] = []
  const others: RunningTracker[] = []
  const cluster: TestCluster = {
    registry,
    get tracker() {
      return tracker!
    },
    signer,
    nodes: [],
    folder,
    async addNode({
      name = `node${cluster.nodes.length}`,
      joinToken = main.joinToken,
      registry: changes = {},
      client: clientChanges = {},
    } = {}) {
      const registries = openRegistries([{ ...registryConfig, ...changes }])
      opened.push(registries)
      const dataDir = join(folder, name)
      mkdirSync(dataDir, { recursive: true })
      const client = await startClient({
        trackerUrl: `https://localhost:${port}`,
        trackerCaPem: authority.certificatePem,
        joinToken,
        dataDir,
        peerListen: { host: '127.0.0.1', port: 0 },
        registries,
        cacheBytesMax: 8 * 2 ** 30,
        // Chance has no place in a test; those about audits say so.
        auditedShare: 0,
        trackerPatienceMs: 5000,
        log: log.child({ name }),
        ...clientChanges,
      })
      const node = {
        name,
        client,
        dataDir,
        async stop() {
          cluster.nodes.splice(cluster.nodes.indexOf(node), 1)
          await client.close()
        },
      }
      cluster.nodes.push(node)
      return node
    },
    nodeOptions: (name) => ({
      trackerUrl: `https://localhost:${port}`,
      trackerCaPem: authority.certificatePem,
      joinToken: main.joinToken,
      dataDir: join(folder, name),
      peerListen: { host: '127.0.0.1', port: 0 },
      registries: [registryConfig],
      cacheBytesMax: 64 * 2 ** 30,
      trackerPatienceMs: 5000,
    }),
    async stopTracker() {
      await tracker?.close()
      tracker = undefined
    },
    async addTracker() {
      const dataDir = join(folder, `tracker${others.length + 2}`)
      const added = await startTracker({ ...config, dataDir }, log, surroundings)
      others.push(added)
      return added
    },
    async restartTracker(changes) {
      await tracker?.close()
      const settings = { ...config, ...changes, listen: { ...config.listen, port } }
      tracker = await startTracker(settings, log, surroundings)
    },
    id: main.cluster,
    admin: (path, body, method) => callAdmin(config.dataDir, path, body, method),
    async newCluster() {
      const made = makeJoinToken()
      await create(made)
      return made
    },
    request: (blob, changes = {}) => ({
      registry: registryConfig.host,
      repository: REPOSITORY,
      digest: blob.digest,
      bytes: blob.bytes.length,
      credential: { scheme: 'bearer', token: signer.sign(pullClaims(REPOSITORY), { jwk: signer.publicJwk }) },
      ...changes,
    }),
    async close() {
      for (const node of [...cluster.nodes]) await node.stop()
      for (const running of [tracker, ...others]) await running?.close()
      for (const registries of opened) for (const client of registries.values()) await client.close()
      await registry.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
  for (let count = 0; count < options.nodes; count++) await cluster.addNode()
  return cluster
}

/** Reads the whole blob through a client, as the proxy would. */
export async function pull(node: TestNode, request: BlobRequest): Promise<Buffer> {
  const blob = await node.client.open(request)
  try {
    const chunks: Uint8Array[] = []
    for await (const chunk of blob.read(0, blob.bytes)) chunks.push(Buffer.from(chunk))
    return Buffer.concat(chunks)
  } finally {
    blob.close()
  }
}

export function progressOf(node: TestNode, blob: TestBlob) {
  return node.client.progress().find(({ digest }) => digest === blob.digest)!
}

/** A call of a tracker's admin API, through the socket. @param dataDir the tracker's */
export async function callAdmin(
  dataDir: string,
  path: string,
  body: object | undefined,
  method: 'POST' | 'PUT' | 'GET' | 'DELETE' = 'POST',
): Promise<{ status: number; body: unknown }> {
  const client = new HttpClient('http://localhost', { socketPath: join(dataDir, ADMIN_SOCKET) })
  const headers = { 'content-type': 'application/json' }
  const asked = body === undefined ? {} : { headers, body: JSON.stringify(body) }
  const answer = await client.request({ method, path, ...asked })
  const answered = { status: answer.statusCode, body: await answer.body.json() }
  await client.close()
  return answered
}
