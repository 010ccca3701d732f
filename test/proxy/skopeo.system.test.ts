import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { Pool } from 'undici'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { issueLeaf, makeAuthority } from '../../core/issue-certificate.ts'
import { createLog } from '../../core/log.ts'
import { createMetrics } from '../../core/metrics.ts'
import { openRegistries, type RegistryClients } from '../../core/registry-client.ts'
import { registryConfig } from '../../core/registry-config.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { ProxyAuthority } from '../../proxy/intercept/authority.ts'
import { type RunningProxy, startProxy } from '../../proxy/proxy.ts'
import { TrustFiles } from '../../proxy/trust-files.ts'
import { FakeClient } from './fake-client.ts'
import { writeOciImage } from './oci-image.ts'

const it = test.skipIf(mustSkipFor(['docker-registry', 'skopeo']))

/** Debian's docker-registry and skopeo, with the real proxy between them. Go programs use no proxy for `localhost`. */
const NAME = 'registry.shoal.test'
const LAYER = gzipSync(randomBytes(12 * 1024 * 1024))

const folder = mkdtempSync(join(tmpdir(), 'shoal-skopeo-'))
const client = new FakeClient()
let registry: ChildProcess
let registries: RegistryClients | undefined
let proxy: RunningProxy | undefined
let host: string
let layerDigest: string

beforeAll(async () => {
  const port = await freePort()
  host = `${NAME}:${port}`
  await startRegistry(port)
  registries = resolvedHere(host)
  const authority = await ProxyAuthority.make([...registries.keys()])
  const trust = new TrustFiles({
    registries: registries.keys(),
    dockerCertsDir: join(folder, 'certs.d'),
    authorityFile: join(folder, 'proxy-ca.crt'),
  })
  proxy = await startProxy({
    listen: { host: '127.0.0.1', port: 0 },
    ...{ client, registries, authority, deniedPorts: [], permitLinkLocal: false, p2pMinBytes: 262_144 },
    publish: (pem) => trust.put(pem),
    metrics: createMetrics(),
    log: createLog({ level: 'silent', name: 'test' }),
  })
  layerDigest = writeOciImage(join(folder, 'image'), LAYER).layerDigest
})

afterAll(async () => {
  await proxy?.close()
  for (const one of registries?.values() ?? []) await one.close()
  await stop(registry)
  rmSync(folder, { recursive: true })
})

it('skopeo pushes an image through the proxy', async () => {
  const pushed = await skopeo('copy', `oci:${folder}/image:v1`, `docker://${host}/team/app:v1`)
  expect(pushed).toEqual({ code: 0, errors: '' })
})

it('skopeo pulls it with no help from the swarm', async () => {
  const pulled = await skopeo('copy', `docker://${host}/team/app:v1`, `oci:${folder}/direct:v1`)
  expect(pulled).toEqual({ code: 0, errors: '' })
  expect(layerIn('direct').equals(LAYER)).toBe(true)
  // The proxy asked for the layer first, and knew from the manifest that it would be wanted.
  expect(client.requests.map(({ digest }) => digest)).toEqual([layerDigest])
  expect(client.plans.at(-1)?.blobs).toEqual([{ digest: layerDigest, bytes: LAYER.length }])
})

it('skopeo takes the layer from the swarm without noticing', async () => {
  client.hold(layerDigest, LAYER)
  const pulled = await skopeo('copy', `docker://${host}/team/app:v1`, `oci:${folder}/swarm:v1`)
  expect(pulled).toEqual({ code: 0, errors: '' })
  expect(layerIn('swarm').equals(LAYER)).toBe(true)
  expect(client.opened.map(({ yielded, closes }) => [yielded, closes])).toEqual([[LAYER.length, 1]])
})

it("skopeo, and so Go, refuses what the proxy's authority signs for a subdomain, and takes its own leaf", async () => {
  expect(await inspectOver(`sub.${NAME}`)).toMatch(
    /x509: a root or intermediate certificate is not authorized/,
  )
  // TLS is through: the answer is no registry's.
  expect(await inspectOver(NAME)).toMatch(/418/)
})

it('skopeo is told clearly and soon when the registry is down', async () => {
  await stop(registry)
  const startedMs = performance.now()
  const { code, errors } = await skopeo('copy', `docker://${host}/team/app:v1`, `oci:${folder}/down:v1`)
  expect(code).not.toBe(0)
  expect(errors).toMatch(/502/)
  expect(performance.now() - startedMs).toBeLessThan(15_000)
})

/** What skopeo says of a server that shows a leaf for `name` of an authority for NAME. */
async function inspectOver(name: string): Promise<string> {
  const permitted = { dnsNames: [NAME], ipAddresses: [] }
  const authority = await makeAuthority({ commonName: 'stolen', validForSeconds: 3600, permitted })
  const leaf = await issueLeaf(authority, {
    ...{ commonName: 'leaf', validForSeconds: 3600, usages: ['serverAuth'] },
    names: [{ type: 'dns', value: name }],
  })
  const certDir = mkdtempSync(join(folder, 'stolen-'))
  writeFileSync(join(certDir, 'ca.crt'), authority.certificatePem)
  const tls = { cert: leaf.certificatePem, key: leaf.privateKeyPem }
  const site = createHttpsServer(tls, (_request, response) => response.writeHead(418).end())
  const relay = createHttpServer().on('connect', (_request, socket) => {
    socket.write('HTTP/1.1 200 OK\r\n\r\n')
    site.emit('connection', socket)
  })
  relay.listen(0, '127.0.0.1')
  await once(relay, 'listening')
  const child = spawn('skopeo', ['inspect', '--cert-dir', certDir, `docker://${name}/team/app:v1`], {
    env: {
      PATH: process.env.PATH,
      HOME: folder,
      HTTPS_PROXY: `http://127.0.0.1:${(relay.address() as AddressInfo).port}`,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let errors = ''
  child.stderr.on('data', (chunk) => {
    errors += chunk
  })
  await once(child, 'close')
  relay.closeAllConnections()
  relay.close()
  return errors
}

function layerIn(image: string): Buffer {
  return readFileSync(join(folder, image, 'blobs', ...layerDigest.split(':')))
}

async function startRegistry(port: number): Promise<void> {
  const authority = await makeAuthority({ commonName: 'test authority', validForSeconds: 3600 })
  const leaf = await issueLeaf(authority, {
    ...{ commonName: NAME, validForSeconds: 3600, usages: ['serverAuth'] },
    names: [{ type: 'dns', value: NAME }],
  })
  const put = (name: string, text: string) => writeFileSync(join(folder, name), text, { mode: 0o600 })
  put('registry-ca.pem', authority.certificatePem)
  put('registry.pem', leaf.certificatePem)
  put('registry-key.pem', leaf.privateKeyPem)
  const tls = { certificate: join(folder, 'registry.pem'), key: join(folder, 'registry-key.pem') }
  // JSON is YAML.
  const settings = {
    ...{ version: 0.1, log: { level: 'error', accesslog: { disabled: true } } },
    storage: { filesystem: { rootdirectory: join(folder, 'registry') } },
    http: { addr: `127.0.0.1:${port}`, tls },
  }
  put('registry.yml', JSON.stringify(settings))
  registry = spawn('docker-registry', ['serve', join(folder, 'registry.yml')], { stdio: 'ignore' })
  await vi.waitUntil(() => isListening(port), { timeout: 15_000 })
}

async function isListening(port: number): Promise<boolean> {
  const pool = new Pool(`http://127.0.0.1:${port}`)
  const answer = await pool.request({ path: '/', method: 'GET' }).catch(() => undefined)
  await pool.destroy()
  return answer !== undefined
}

/** The registry's clients, for a name that only this process can resolve. */
function resolvedHere(name: string): RegistryClients {
  const config = registryConfig.parse({ host: name, kind: 'none', caFile: join(folder, 'registry-ca.pem') })
  return openRegistries([config], {
    lookup: (_name, options, done) =>
      options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4),
  })
}

async function skopeo(...command: string[]): Promise<{ code: number | null; errors: string }> {
  const [verb = '', from = '', to = ''] = command
  const certDir = join(folder, 'certs.d', host)
  const trust = from.startsWith('docker:') ? ['--src-cert-dir', certDir] : ['--dest-cert-dir', certDir]
  const child = spawn('skopeo', ['--insecure-policy', verb, '--quiet', ...trust, from, to], {
    env: { PATH: process.env.PATH, HOME: folder, HTTPS_PROXY: `http://127.0.0.1:${proxy?.address.port}` },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let errors = ''
  child.stderr.on('data', (chunk) => {
    errors += chunk
  })
  const [code] = await once(child, 'close')
  return { code, errors }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill()
  await once(child, 'exit')
}
