import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ask } from '../../certs-tool/admin-client.ts'
import type { BlobProgress } from '../../client/index.ts'
import { issueLeaf, makeAuthority } from '../../core/issue-certificate.ts'
import { authorityAt, progressAt } from '../../lab/local-api.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { type LabProcess, LabProcesses, waitForPart } from '../../lab/machine/processes.ts'
import type { LabRequirement } from '../../lab/machine/requirements.ts'
import { makeSigner, pullClaims, type Signer } from '../core/signed-tokens.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import { askThrough } from '../proxy/test-proxy.ts'
import { type DockerRegistry, startDockerRegistry } from '../pull/docker-registry.ts'
import { callAdmin, makeJoinToken, randomBlob, type TestBlob } from '../pull/test-cluster.ts'
import type { AttackedCluster } from './attacker.ts'

/**
 * What is attacked as it is in earnest: Debian's docker-registry with its token authentication, `shoal tracker` and
 * `shoal node` as processes of their own, on loopback. Their logs are all that is known of their inside.
 */
export interface ProcessCluster extends AttackedCluster {
  registry: DockerRegistry
  trackerPort: number
  trackerProcess: LabProcess
  nodes: ProcessNode[]
  /** The registry's key and the header under which it signs. */
  tokens: { signer: Signer; header: { x5c: string[] } }
  tokenFor(repository: string, actions?: string[]): string
  push(blob: TestBlob): Promise<void>
  addNode(name: string): Promise<ProcessNode>
  /** All that tracker and nodes have logged. */
  logText(): string
  close(): Promise<void>
}

export interface ProcessNode {
  name: string
  process: LabProcess
  client: { peerAddress: { host: string; port: number } }
  proxyPort: number
  adminPort: number
  dataDir: string
  /** What Docker would get through the node's proxy. */
  ask(blob: TestBlob, token?: string): Promise<{ status: number; body: Buffer }>
  progressOf(blob: TestBlob): Promise<BlobProgress | undefined>
  isHealthy(): Promise<boolean>
  caPem(): Promise<string>
}

export const PROCESS_PARTS: LabRequirement[] = ['linux', 'docker-registry', 'setpriv']
const PROGRAM = fileURLToPath(new URL('../../bin/shoal.js', import.meta.url))
const TLS_NAME = 'localhost'

export const smallBlob = () => randomBlob(3 * 256 * 1024 + 17)

export async function startProcessCluster(): Promise<ProcessCluster> {
  const folder = mkdtempSync(join(tmpdir(), 'shoal-processes-'))
  mkdirSync(join(folder, 'log'))
  const processes = new LabProcesses(join(folder, 'log'))
  const write = (name: string, content: string) => {
    writeFileSync(join(folder, name), content, { mode: 0o600 })
    return join(folder, name)
  }
  const tokens = await makeTokenServer()
  const tokenFor = (repository: string, actions = ['pull']) => {
    const access = [{ type: 'repository', name: repository, actions }]
    return tokens.signer.sign(pullClaims(repository, { access }), tokens.header)
  }
  const registry = await startDockerRegistry({ kind: 'token', tokenBundlePem: tokens.bundlePem })
  const tracker = await startTrackerProcess({ folder, processes, write, registry }, tokens.signer)
  const main = makeJoinToken()
  const access = { dataDir: join(folder, 'tracker') }
  const create = async (made: ReturnType<typeof makeJoinToken>) => {
    const { cluster, joinTokenHash } = made
    await ask(access, 'clusters.create', { cluster, name: cluster, joinTokenHash })
    return made
  }
  await create(main)
  const joinTokenFile = write('join-token', main.joinToken)
  const trackerUrl = `https://${TLS_NAME}:${tracker.port}`
  const nodes: ProcessNode[] = []
  const logText = () =>
    ['tracker', ...nodes.map(({ name }) => name)]
      .flatMap((name) => [`${name}.log`, `${name}.err.log`])
      .map((name) => readFileSync(join(folder, 'log', name), 'utf8'))
      .join('')
  return {
    ...{ folder, registry, nodes, tokens, tokenFor, logText, signer: tokens.signer },
    trackerPort: tracker.port,
    trackerProcess: tracker.process,
    admin: (path, body) => callAdmin(join(folder, 'tracker'), path, body),
    nodeOptions: () => ({ trackerUrl, trackerCaPem: tracker.caPem, joinToken: main.joinToken }),
    newCluster: () => create(makeJoinToken()),
    request: (blob, changes = {}) => ({
      registry: registry.config.host,
      repository: REPOSITORY,
      digest: blob.digest,
      bytes: blob.bytes.length,
      credential: { scheme: 'bearer', token: tokenFor(REPOSITORY) },
      ...changes,
    }),
    push: (blob) => registry.push(blob, `Bearer ${tokenFor(REPOSITORY, ['pull', 'push'])}`),
    async addNode(name) {
      const shared = { trackerUrl, trackerCaFile: tracker.caFile, joinTokenFile }
      const node = await startNodeProcess({ folder, processes, write, registry }, name, shared)
      nodes.push(node)
      return node
    },
    async close() {
      await processes.close()
      await registry.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Distribution 2.8 wants the signing key's certificate in `x5c`, and its chain to end in a bundle. */
async function makeTokenServer() {
  const signer = makeSigner('ES256')
  const authority = await makeAuthority({ commonName: 'token authority', validForSeconds: 3600 })
  const leaf = await issueLeaf(authority, {
    commonName: 'token server',
    validForSeconds: 3600,
    names: [{ type: 'dns', value: 'token-signing.invalid' }],
    usages: ['serverAuth'],
    spki: signer.publicKey.export({ type: 'spki', format: 'der' }),
  })
  const x5c = [leaf.certificatePem.replace(/-----[^-]+-----|\s/g, '')]
  return { signer, header: { x5c }, bundlePem: authority.certificatePem }
}

interface Place {
  folder: string
  processes: LabProcesses
  write(name: string, content: string): string
  registry: DockerRegistry
}

/** It knows the token server's key, so that the first pull waits for its probe, and peers verify the registry's own token. */
async function startTrackerProcess({ folder, processes, write, registry }: Place, { publicJwk }: Signer) {
  const authority = await makeAuthority({ commonName: 'tracker authority', validForSeconds: 3600 })
  const leaf = await issueLeaf(authority, {
    commonName: TLS_NAME,
    validForSeconds: 3600,
    names: [{ type: 'dns', value: TLS_NAME }],
    usages: ['serverAuth'],
  })
  const [port, adminPort] = [await freePort(), await freePort()]
  const tokenKeysFile = write('token-keys.json', JSON.stringify({ keys: [publicJwk] }))
  const config = {
    listen: `127.0.0.1:${port}`,
    adminListen: `127.0.0.1:${adminPort}`,
    tlsCertFile: write('tracker.crt', leaf.certificatePem),
    tlsKeyFile: write('tracker.key', leaf.privateKeyPem),
    unlockKeyFile: write('unlock', `SHOALKEY-1-${Buffer.alloc(32, 7).toString('base64url')}`),
    dataDir: join(folder, 'tracker'),
    registries: [{ ...registry.config, tokenKeysFile }],
    heartbeatSeconds: 1,
    logLevel: 'debug',
  }
  const configFile = write('tracker.json', JSON.stringify(config))
  const argv = [process.execPath, PROGRAM, 'tracker', '--config-file', configFile]
  const started = processes.start({ name: 'tracker', argv })
  // The socket is there before the listener.
  await waitForPart(started, async () => (await isOpen(adminPort)) || undefined)
  const caFile = write('tracker-ca.pem', authority.certificatePem)
  return { port, process: started, caFile, caPem: authority.certificatePem }
}

async function isOpen(port: number): Promise<boolean> {
  return fetch(`http://127.0.0.1:${port}`).then(
    () => true,
    // It speaks TLS only: a connection that is closed by it is an answer.
    (error: { cause?: { code?: string } }) => error.cause?.code !== 'ECONNREFUSED',
  )
}

async function startNodeProcess(
  { folder, processes, write, registry }: Place,
  name: string,
  shared: Record<string, unknown>,
): Promise<ProcessNode> {
  const [peerPort, proxyPort, adminPort] = [await freePort(), await freePort(), await freePort()]
  const dataDir = join(folder, name)
  const config = {
    ...shared,
    dataDir,
    peerListen: `127.0.0.1:${peerPort}`,
    proxyListen: `127.0.0.1:${proxyPort}`,
    adminListen: `127.0.0.1:${adminPort}`,
    dockerCertsDir: 'none',
    p2pMinBytes: 1000,
    registries: [registry.config],
    logLevel: 'debug',
  }
  const configFile = write(`${name}.json`, JSON.stringify(config))
  const argv = [process.execPath, PROGRAM, 'node', '--config-file', configFile]
  const started = processes.start({ name, argv })
  const admin = (path: string) => fetch(`http://127.0.0.1:${adminPort}${path}`)
  const isHealthy = async () => (await admin('/healthz')).ok && started.isRunning()
  await waitForPart(started, async () => (await isHealthy()) || undefined)
  const socket = join(dataDir, 'shoal.sock')
  const caPem = () => authorityAt(socket)
  return {
    ...{ name, process: started, proxyPort, adminPort, dataDir, isHealthy, caPem },
    client: { peerAddress: { host: '127.0.0.1', port: peerPort } },
    async ask(blob, token) {
      return askThrough(
        { port: proxyPort, host: registry.config.host, caPem: await caPem() },
        {
          path: `/v2/${REPOSITORY}/blobs/${blob.digest}`,
          ...(token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } }),
        },
      )
    },
    async progressOf({ digest }) {
      return (await progressAt(socket)).find((blob) => blob.digest === digest)
    },
  }
}
