import { createHash, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jwtVerify } from 'jose'
import { pino } from 'pino'
import { Client } from 'undici'
import { type Digest, digestFromHex } from '../../core/digest.ts'
import { makeAuthority, spkiOf } from '../../core/issue-certificate.ts'
import { type ClusterId, PIECE_HASH_BYTES, pieceLayout } from '../../core/metainfo.ts'
import type { RegistryConfig } from '../../core/registry-config.ts'
import { ADMIN_SOCKET } from '../../core/tracker-sockets.ts'
import { issueForLocalhost } from '../../lab/machine/localhost-certificate.ts'
import { type TrackerConfig, trackerConfig } from '../../tracker/config.ts'
import { firstFreeRun, type LeasePolicy } from '../../tracker/handout/leases.ts'
import { type RunningTracker, startTracker } from '../../tracker/main.ts'
import { makeSigner, pullClaims, type Signer } from '../core/signed-tokens.ts'
import { type Door, startTestRegistry, type TestRegistry } from '../core/test-registry.ts'

export const APP = 'team/app'
export const OTHER = 'team/other'
export const SMALL: TestBlob = { digest: digestFromHex('a'.repeat(64)), bytes: 100_000 }
/** Four pieces of 256 KiB, the last one short. */
export const LAYER: TestBlob = { digest: digestFromHex('b'.repeat(64)), bytes: 1_000_000 }
export const SECRET: TestBlob = { digest: digestFromHex('c'.repeat(64)), bytes: 2_000_000 }
export const LAYER_PIECES = pieceLayout(LAYER.bytes).pieceCount

export interface TestBlob {
  digest: Digest
  bytes: number
}

/** Which blobs are in which repository. */
const CONTENTS: Record<string, TestBlob[]> = { [APP]: [SMALL, LAYER], [OTHER]: [SECRET] }

/** A registry that verifies tokens with jose and serves HEAD for `CONTENTS`. */
function verifyingDoor(signer: Signer): Door {
  return async (request, response) => {
    const [, repository = '', digest] = /^\/v2\/(.+)\/blobs\/(.+)$/.exec(request.url ?? '') ?? []
    try {
      const jwt = request.headers.authorization?.replace(/^Bearer /, '') ?? ''
      const { payload } = await jwtVerify(jwt, signer.publicKey, { algorithms: [signer.algorithm] })
      const access = payload.access as { name: string; actions: string[] }[]
      if (!access.some(({ name, actions }) => name === repository && actions.includes('pull')))
        throw new Error()
    } catch {
      response.writeHead(401).end()
      return
    }
    answerHead(response, repository, digest)
  }
}

export const openDoor: Door = (request, response) => {
  const [, repository = '', digest] = /^\/v2\/(.+)\/blobs\/(.+)$/.exec(request.url ?? '') ?? []
  answerHead(response, repository, digest)
}

function answerHead(response: Parameters<Door>[1], repository: string, digest: string | undefined): void {
  const blob = CONTENTS[repository]?.find((it) => it.digest === digest)
  if (blob === undefined) response.writeHead(404).end()
  else response.writeHead(200, { 'content-length': blob.bytes }).end()
}

export interface TestCluster {
  cluster: ClusterId
  joinToken: string
}

export interface Answer {
  status: number
  // Tests read answers of every shape.
  // biome-ignore lint/suspicious/noExplicitAny: JSON
  body: any
}

/** A running tracker with a registry, over real TLS, and a clock that can be moved. */
export interface World {
  readonly registry: TestRegistry
  readonly signer: Signer
  readonly config: TrackerConfig
  readonly caPem: string
  readonly dataDir: string
  readonly logged: () => string
  tracker: RunningTracker
  clockOffsetMs: number
  token(changes?: Record<string, unknown>, signer?: Signer): string
  makeCluster(name?: string): Promise<TestCluster>
  newNode(): TestNode
  joined(cluster: TestCluster): Promise<TestNode>
  restart(changes?: Partial<TrackerConfig>): Promise<void>
  /** Through the socket. */
  admin(dataDir?: string): TestCaller
  /** Over TLS. */
  remoteAdmin(identity: AdminIdentity): TestCaller
  /** What `shoal admin certificate` makes. */
  adminIdentity(dataDir?: string): Promise<Required<AdminIdentity>>
  close(): Promise<void>
}

export interface WorldOptions {
  registry?: Partial<RegistryConfig>
  tracker?: Record<string, unknown>
  door?: Door
  leasePolicy?: LeasePolicy
  /** Default: the first pull under a new token key waits for its probe. */
  probePauseMs?: number
}

export async function startWorld(options: WorldOptions = {}): Promise<World> {
  const signer = makeSigner('ES256')
  const registry = await startTestRegistry(options.door ?? verifyingDoor(signer), options.registry)
  const { config, caPem, dataDir, folder } = await writeConfig(registry, options)
  const lines: string[] = []
  const log = pino({ level: 'debug' }, { write: (line: string) => lines.push(line) })
  const open: TestCaller[] = []
  const start = (changes: Partial<TrackerConfig> = {}) =>
    startTracker({ ...config, ...changes }, log, {
      nowMs: () => Date.now() + world.clockOffsetMs,
      // One lease holds the blob: what these tests are about needs no second one. How blobs are shared: swarm-leases.
      leasePolicy: options.leasePolicy ?? firstFreeRun(),
      probePauseMs: options.probePauseMs ?? 0,
    })
  const world: World = {
    registry,
    signer,
    config,
    caPem,
    dataDir,
    logged: () => lines.join(''),
    tracker: undefined as never,
    clockOffsetMs: 0,
    token: (changes = {}, by = signer) =>
      by.sign(pullClaims(APP, changes), { jwk: { ...by.publicJwk } as Record<string, unknown> }),
    makeCluster: (name = 'lab') => makeCluster(world.tracker, name),
    newNode: () => {
      const node = new TestNode(world)
      open.push(node)
      return node
    },
    joined: async (cluster) => {
      const node = world.newNode()
      await node.join(cluster.joinToken)
      return node
    },
    restart: async (changes) => {
      await world.tracker.close()
      world.tracker = await start(changes)
    },
    admin: (of = dataDir) => {
      const caller = new SocketCaller(join(of, ADMIN_SOCKET))
      open.push(caller)
      return caller
    },
    remoteAdmin: (identity) => {
      const caller = new TestCaller(() => world.tracker.adminAddress.port, identity)
      open.push(caller)
      return caller
    },
    adminIdentity: async (of) => {
      const key = newKey()
      const asked = { publicKey: publicKeyOf(key), validForSeconds: 3600 }
      const { body } = await world.admin(of).post('/admin/v1/certificates', asked)
      const pem = key.export({ type: 'pkcs8', format: 'pem' }) as string
      return { ca: body.authorities.join(''), cert: body.certificate, key: pem }
    },
    close: async () => {
      for (const caller of open) await caller.close()
      await world.tracker?.close()
      await registry.close()
      rmSync(folder, { recursive: true })
    },
  }
  world.tracker = await start()
  return world
}

async function writeConfig(registry: TestRegistry, { tracker }: WorldOptions) {
  const folder = mkdtempSync(join(tmpdir(), 'shoal-tracker-'))
  const authority = await makeAuthority({ commonName: 'test tracker authority', validForSeconds: 3600 })
  const leaf = await issueForLocalhost(authority)
  const write = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const dataDir = join(folder, 'data')
  const config = trackerConfig.parse({
    listen: '127.0.0.1:0',
    adminListen: '127.0.0.1:0',
    tlsCertFile: write('tracker.crt', leaf.certificatePem),
    tlsKeyFile: write('tracker.key', leaf.privateKeyPem),
    unlockKeyFile: write('unlock.key', newUnlockKey()),
    dataDir,
    logLevel: 'debug',
    ...tracker,
  })
  config.registries = [registry.config]
  return { folder, dataDir, config, caPem: authority.certificatePem }
}

export function newUnlockKey(): string {
  return `SHOALKEY-1-${randomBytes(32).toString('base64url')}`
}

export function newClusterSecrets(): TestCluster & { joinTokenHash: string } {
  const cluster = `c${randomBytes(8).toString('hex')}` as ClusterId
  const joinToken = newJoinToken(cluster)
  return { cluster, joinToken, joinTokenHash: sha256(joinToken) }
}

export function newJoinToken(cluster: ClusterId): string {
  return `SHOAL-1-${cluster}-${randomBytes(32).toString('base64url')}`
}

async function makeCluster(tracker: RunningTracker, name: string): Promise<TestCluster> {
  const { cluster, joinToken, joinTokenHash } = newClusterSecrets()
  await tracker.createCluster({ cluster, name, joinTokenHash })
  return { cluster, joinToken }
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

/** What an administrator over TLS trusts and presents. */
export interface AdminIdentity {
  ca: string
  cert?: string
  key?: string
}

/** Calls one listener over TLS with verification on. */
export class TestCaller {
  readonly #port: () => number
  #tls: AdminIdentity
  #client: Client | undefined

  constructor(port: () => number, tls: AdminIdentity) {
    this.#port = port
    this.#tls = tls
  }

  /** From the next connection on. */
  async present(identity: { cert: string; key: string } | undefined): Promise<void> {
    await this.close()
    this.#tls = { ca: this.#tls.ca, ...identity }
  }

  async request(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    this.#client ??= this.connect()
    const answer = await this.#client.request({
      method: method as 'POST',
      path,
      headers: body === undefined ? headers : { 'content-type': 'application/json', ...headers },
      body: body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body),
    })
    const text = await answer.body.text()
    const isJson = String(answer.headers['content-type']).startsWith('application/json')
    return { status: answer.statusCode, body: isJson ? JSON.parse(text) : text }
  }

  /** Reads a stream of events until `isEnough`, or until it ends. */
  async stream(
    path: string,
    headers: Record<string, string> = {},
    isEnough: (text: string) => boolean = () => true,
  ): Promise<Answer & { hasEnded: boolean }> {
    this.#client ??= this.connect()
    const answer = await this.#client.request({ method: 'GET', path, headers })
    let text = ''
    let hasEnded = true
    for await (const chunk of answer.body) {
      text += chunk
      hasEnded = !(answer.statusCode === 200 && isEnough(text))
      if (!hasEnded) break
    }
    return { status: answer.statusCode, body: answer.statusCode === 200 ? text : JSON.parse(text), hasEnded }
  }

  protected connect(): Client {
    return new Client(`https://localhost:${this.#port()}`, { connect: this.#tls })
  }

  post(path: string, body: unknown): Promise<Answer> {
    return this.request('POST', path, body)
  }

  async close(): Promise<void> {
    await this.#client?.destroy()
    this.#client = undefined
  }
}

/** Calls a listener on a Unix socket. */
class SocketCaller extends TestCaller {
  readonly #path: string

  constructor(path: string) {
    super(() => 0, { ca: '' })
    this.#path = path
  }

  protected override connect(): Client {
    return new Client('http://localhost', { socketPath: this.#path })
  }
}

export function newKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
}

export function publicKeyOf(key: KeyObject): string {
  return spkiOf(key).toString('base64url')
}

/** A node that speaks the tracker's API, with its own key. */
export class TestNode extends TestCaller {
  readonly key = newKey()
  readonly world: World
  node = ''
  certificate = ''

  constructor(world: World) {
    super(() => world.tracker.address.port, { ca: world.caPem })
    this.world = world
  }

  get identity(): { cert: string; key: string } {
    return { cert: this.certificate, key: this.key.export({ type: 'pkcs8', format: 'pem' }) as string }
  }

  async join(joinToken: string): Promise<Answer> {
    const answer = await this.post('/v1/nodes', { joinToken, publicKey: publicKeyOf(this.key) })
    if (answer.status !== 200) return answer
    this.node = answer.body.node
    this.certificate = answer.body.certificate
    await this.present(this.identity)
    return answer
  }

  pull(changes: Record<string, unknown> = {}): Promise<Answer> {
    return this.post('/v1/pulls', {
      registry: this.world.registry.host,
      repository: APP,
      credential: { scheme: 'bearer', token: this.world.token() },
      publicKey: publicKeyOf(newKey()),
      listenPort: 7071,
      blobs: [{ ...LAYER, isWanted: true }],
      ...changes,
    })
  }

  hashes(swarm: string, changes: Record<string, unknown>): Promise<Answer> {
    return this.post(`/v1/swarms/${swarm}/hashes`, {
      lease: null,
      epoch: 0,
      firstPiece: 0,
      hashes: '',
      isLeaseReleased: false,
      wantsLease: false,
      position: 0,
      batchesFrom: null,
      ...changes,
    })
  }

  complete(swarm: string, changes: Record<string, unknown> = {}): Promise<Answer> {
    const body = { epoch: 0, matched: 'whole', piecesSha1: null, ...changes }
    return this.post(`/v1/swarms/${swarm}/complete`, body)
  }

  mismatch(swarm: string, changes: Record<string, unknown>): Promise<Answer> {
    return this.post(`/v1/swarms/${swarm}/mismatch`, { epoch: 0, ...changes })
  }

  heartbeat(changes: Record<string, unknown> = {}): Promise<Answer> {
    return this.post('/v1/heartbeat', {
      listenPort: 7071,
      isFullInventory: false,
      holds: [],
      dropped: [],
      wantsPeers: [],
      servePublicKey: null,
      badPeers: [],
      revocationsVersion: 0,
      ...changes,
    })
  }
}

/** Made-up hashes of pieces, the same for the same seed. */
export function hashesOf(pieces: number, seed = 'honest'): Buffer {
  const hashes = Array.from({ length: pieces }, (_, piece) =>
    createHash('sha256').update(`${seed} ${piece}`).digest(),
  )
  return Buffer.concat(hashes)
}

/** Pieces [from, to) of `hashes`, as they travel. */
export function wireHashes(hashes: Buffer, from = 0, to = hashes.length / PIECE_HASH_BYTES): string {
  return hashes.subarray(from * PIECE_HASH_BYTES, to * PIECE_HASH_BYTES).toString('base64url')
}
