import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { authorityAt } from '../../lab/local-api.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import { askThrough } from '../proxy/test-proxy.ts'
import type { TestBlob, TestCluster } from '../pull/test-cluster.ts'
import { runShoal, type StartedShoal, startShoal } from './run-shoal.ts'

/** `shoal node` as a process of its own, in a cluster of the test's, with commands that ask it. */
export interface LiveNode {
  readonly program: StartedShoal
  readonly dataDir: string
  readonly configFile: string
  readonly proxyPort: number
  /** Writes the settings with these changes; the node reads them when it is told to. */
  configure(changes: Record<string, unknown>): void
  /** What a pulling client gets through the node's proxy. */
  get(path: string): Promise<{ status: number; body: Buffer }>
  pull(blob: TestBlob): Promise<Buffer>
  /** Pulls an image of these blobs: its manifest, then all of them. @returns its digest */
  pullImage(tag: string, blobs: TestBlob[]): Promise<string>
  /** `shoal …` with this node's socket. */
  shoal(...argv: string[]): ReturnType<typeof runShoal>
  log(): string
}

const JOINED_MS_MAX = 20_000
const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json'

export async function startLiveNode(
  cluster: TestCluster,
  name: string,
  settings: Record<string, unknown> = {},
): Promise<LiveNode> {
  const options = cluster.nodeOptions(name) as { trackerUrl: string; trackerCaPem: string; joinToken: string }
  const write = (file: string, text: string) => {
    const path = join(cluster.folder, `${name}-${file}`)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  const [proxyPort, peerPort, adminPort] = [await freePort(), await freePort(), await freePort()]
  const dataDir = join(cluster.folder, name)
  const base = {
    trackerUrl: options.trackerUrl,
    trackerCaFile: write('ca.pem', options.trackerCaPem),
    joinTokenFile: write('join-token', options.joinToken),
    dataDir,
    proxyListen: `127.0.0.1:${proxyPort}`,
    peerListen: `127.0.0.1:${peerPort}`,
    adminListen: `127.0.0.1:${adminPort}`,
    dockerCertsDir: 'none',
    attachedDir: 'none',
    p2pMinBytes: 1000,
    cacheBytesMax: 1024 ** 3,
    registries: [cluster.registry.config],
    trackerPatienceMs: 5000,
  }
  const configure = (changes: Record<string, unknown>) =>
    void write('config.json', JSON.stringify({ ...base, ...settings, ...changes }))
  configure({})
  const configFile = join(cluster.folder, `${name}-config.json`)
  const program = startShoal(['node', '--config-file', configFile])
  let log = ''
  program.child.stderr!.on('data', (chunk: Buffer) => {
    log += chunk.toString()
  })
  const socket = join(dataDir, 'shoal.sock')
  const untilMs = performance.now() + JOINED_MS_MAX
  while (!log.includes('the node is ready')) {
    if (performance.now() > untilMs || program.child.exitCode !== null) throw new Error(`not ready: ${log}`)
    await wait(50)
  }
  const { host } = cluster.registry
  const get = async (path: string) => {
    const { credential } = cluster.request({ digest: 'sha256:' as never, bytes: Buffer.alloc(1) })
    const token = 'token' in credential ? credential.token : ''
    const proxy = { port: proxyPort, host, caPem: await authorityAt(socket) }
    return askThrough(proxy, { path, headers: { authorization: `Bearer ${token}` } })
  }
  const pull = async ({ digest }: TestBlob) => (await get(`/v2/${REPOSITORY}/blobs/${digest}`)).body
  return {
    ...{ program, dataDir, configFile, proxyPort, configure, get, pull },
    async pullImage(tag, blobs) {
      const digest = serveManifest(cluster, tag, blobs)
      const answer = await get(`/v2/${REPOSITORY}/manifests/${tag}`)
      if (answer.status !== 200) throw new Error(`no manifest: ${answer.status}`)
      for (const blob of blobs) {
        if (!(await pull(blob)).equals(blob.bytes)) throw new Error('wrong bytes')
      }
      return digest
    },
    shoal: (...argv) => runShoal([...argv, '--socket', socket]),
    log: () => log,
  }
}

/** From now on the registry answers for this tag too. */
function serveManifest({ registry }: TestCluster, tag: string, blobs: TestBlob[]): string {
  const entries = blobs.map(({ digest, bytes }) => ({ mediaType: 'x', digest, size: bytes.length }))
  const [config, ...layers] = entries
  const text = JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST_TYPE, config, layers })
  const digest = `sha256:${createHash('sha256').update(text).digest('hex')}`
  const { door } = registry
  registry.door = (request, response) => {
    if (!request.url?.endsWith(`/manifests/${tag}`)) return door(request, response)
    const headers = { 'content-type': MANIFEST_TYPE, 'docker-content-digest': digest }
    response.writeHead(200, { ...headers, 'content-length': Buffer.byteLength(text) })
    response.end(request.method === 'HEAD' ? undefined : text)
  }
  return digest
}
