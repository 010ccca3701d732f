import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { issueLeaf, type KeyedCertificate, makeAuthority } from '../../core/issue-certificate.ts'
import { openRegistries, type RegistryClient } from '../../core/registry-client.ts'
import type { RegistryConfig } from '../../core/registry-config.ts'
import { registryConfig } from '../../core/registry-config.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { makeChain, NO_CHAIN } from './test-chain.ts'
import {
  alwaysStatus,
  BLOB,
  type Door,
  REPOSITORY,
  startTestRegistry,
  type TestRegistry,
} from './test-registry.ts'

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

async function start(door: Door, tls: object = {}): Promise<TestRegistry> {
  const registry = await startTestRegistry(door, {}, { tls })
  closers.push(() => registry.close())
  return registry
}

/** An empty certs.d, and the folder of the registry in it. */
function certsDir(registry: TestRegistry) {
  const certsDir = mkdtempSync(join(tmpdir(), 'shoal-certs-'))
  closers.push(() => rmSync(certsDir, { recursive: true }))
  const folder = join(certsDir, registry.host)
  mkdirSync(folder)
  const put = (name: string, text: string) => writeFileSync(join(folder, name), text)
  return { certsDirs: [certsDir], put }
}

function open(config: RegistryConfig, certsDirs: string[] = []): RegistryClient {
  const client = openRegistries([config], { certsDirs }).get(config.host)!
  closers.push(() => client.close())
  return client
}

const head = (client: RegistryClient) =>
  client.headBlob({ repository: REPOSITORY, digest: BLOB, authorization: undefined })

/** The registry without the caFile that its test made. */
const bare = ({ host }: TestRegistry) => registryConfig.parse({ host })

const machine = async (authority: KeyedCertificate) =>
  issueLeaf(authority, {
    ...{ commonName: 'machine', validForSeconds: 600, names: [{ type: 'dns', value: 'machine' }] },
    usages: ['clientAuth'],
  })

/** Answers 400 without a client certificate, as nginx does. */
const mutual: Door = (request, response) => {
  const name = (request.socket as TLSSocket).getPeerCertificate().subject?.CN
  response.writeHead(name === 'machine' ? 200 : 400, { 'content-length': 0 }).end()
}

describe('_default, the folder of every registry without one', () => {
  const start = async () => {
    const registry = await startTestRegistry(alwaysStatus(200, { 'content-length': 1 }))
    closers.push(() => registry.close())
    const { certsDirs } = certsDir(registry)
    const folder = join(certsDirs[0]!, '_default')
    mkdirSync(folder)
    writeFileSync(join(folder, 'site.crt'), registry.authority.certificatePem)
    return { registry, certsDirs, own: join(certsDirs[0]!, registry.host) }
  }

  it('counts where the registry has no folder', async () => {
    const { registry, certsDirs, own } = await start()
    rmSync(own, { recursive: true })
    expect(await head(open(bare(registry), certsDirs))).toMatchObject({ isPresent: true })
  })

  it('does not count where it has one, as with Docker and containerd', async () => {
    const { registry, certsDirs } = await start()
    await expect(head(open(bare(registry), certsDirs))).rejects.toMatchObject({
      code: 'REGISTRY_UNREACHABLE',
    })
  })
})

const isWithoutOpenssl = mustSkipFor(['openssl'])

describe.skipIf(isWithoutOpenssl)('a bundle', () => {
  const chain = isWithoutOpenssl ? NO_CHAIN : makeChain()
  it.each([
    ['the issuing authority', chain.issuing, chain.leaf, chain.leafKey],
    ['the server’s own certificate', chain.leaf, chain.leaf + chain.issuing, chain.leafKey],
    [
      'a certificate that signs itself and is no authority',
      chain.selfSigned,
      chain.selfSigned,
      chain.selfSignedKey,
    ],
    ['the root, where the server sends the chain', chain.root, chain.leaf + chain.issuing, chain.leafKey],
  ])('may hold only %s', async (_, bundle, cert, key) => {
    const registry = await start(alwaysStatus(200), { cert, key })
    const client = open({ ...bare(registry), caFile: registry.writeFile('bundle.pem', bundle) })
    expect((await head(client)).isPresent).toBe(true)
  })

  it('with another certificate verifies nothing, and the words name caFile', async () => {
    const registry = await start(alwaysStatus(200), { cert: chain.selfSigned, key: chain.selfSignedKey })
    const client = open({ ...bare(registry), caFile: registry.writeFile('bundle.pem', chain.issuing) })
    await expect(head(client)).rejects.toThrowError(/its authority is your own, caFile must name it$/)
    await expect(head(client)).rejects.not.toThrowError(/--use-system-ca/)
    expect(registry.requests).toEqual([])
  })
})

describe('Docker’s folder of a registry', () => {
  it('adds its *.crt files to what is trusted for that registry alone', async () => {
    const registry = await start(alwaysStatus(200))
    const { certsDirs, put } = certsDir(registry)
    put('ca.crt', registry.authority.certificatePem)
    put('notes.crt', 'no certificate')
    expect((await head(open(bare(registry), certsDirs))).isPresent).toBe(true)
    const other = await startTestRegistry(alwaysStatus(200))
    closers.push(() => other.close())
    await expect(head(open(bare(other), certsDirs))).rejects.toMatchObject({ code: 'REGISTRY_UNREACHABLE' })
  })

  it('is read again when a file appears, changes or goes, without a restart', async () => {
    const registry = await start(alwaysStatus(200))
    const { certsDirs, put } = certsDir(registry)
    const client = open(bare(registry), certsDirs)
    await expect(client.verify()).rejects.toThrow()
    put('ca.crt', registry.authority.certificatePem)
    await expect
      .poll(
        () =>
          client.verify().then(
            () => true,
            () => false,
          ),
        { timeout: 5000 },
      )
      .toBe(true)
    const wrong = await makeAuthority({ commonName: 'another', validForSeconds: 60 })
    put('ca.crt', wrong.certificatePem)
    await expect
      .poll(
        () =>
          client.verify().then(
            () => true,
            () => false,
          ),
        { timeout: 5000 },
      )
      .toBe(false)
  })

  it('says nothing about the registry in shoal.crt, which is our own', async () => {
    const registry = await start(alwaysStatus(200))
    const { certsDirs, put } = certsDir(registry)
    put('shoal.crt', registry.authority.certificatePem)
    await expect(open(bare(registry), certsDirs).verify()).rejects.toThrow()
  })

  it('holds the client certificate for that registry, which no store behind a redirect sees', async () => {
    const ca = await makeAuthority({ commonName: 'clients', validForSeconds: 600 })
    const tls = { requestCert: true, rejectUnauthorized: false, ca: ca.certificatePem }
    const registry = await start(mutual, tls)
    const { certsDirs, put } = certsDir(registry)
    const own = await machine(ca)
    put('ca.crt', registry.authority.certificatePem)
    expect(await head(open(bare(registry), certsDirs))).toMatchObject({ isPresent: false, status: 400 })
    put('client.cert', own.certificatePem)
    put('client.key', own.privateKeyPem)
    const client = open({ ...bare(registry), permitPrivateRedirects: true }, certsDirs)
    expect((await head(client)).isPresent).toBe(true)
    const store = await client.redirectDispatcher.request({
      ...{ origin: `https://${registry.host}`, path: '/', method: 'GET' },
    })
    await store.body.dump()
    expect(store.statusCode).toBe(400)
  })

  it.each([
    ['has no key', ''],
    ['has a key that is none', 'no key'],
  ])('with a client certificate that %s leaves the registry to clients', async (_, key) => {
    const ca = await makeAuthority({ commonName: 'clients', validForSeconds: 600 })
    const registry = await start(alwaysStatus(200))
    const { certsDirs, put } = certsDir(registry)
    put('client.cert', (await machine(ca)).certificatePem)
    if (key !== '') put('client.key', key)
    const client = open(registry.config, certsDirs)
    await expect(client.verify()).rejects.toMatchObject({ code: 'CLIENT_CERTIFICATE' })
  })
})

describe('a client certificate in the settings', () => {
  it('is presented to the registry', async () => {
    const ca = await makeAuthority({ commonName: 'clients', validForSeconds: 600 })
    const tls = { requestCert: true, rejectUnauthorized: false, ca: ca.certificatePem }
    const registry = await start(mutual, tls)
    const own = await machine(ca)
    const config = {
      ...registry.config,
      clientCertFile: registry.writeFile('client.pem', own.certificatePem),
      clientKeyFile: registry.writeFile('client-key.pem', own.privateKeyPem),
    }
    expect((await head(open(config))).isPresent).toBe(true)
  })
})

it('Shoal’s own requests carry its name', async () => {
  const agents: unknown[] = []
  const registry = await start((request, response) => {
    agents.push(request.headers['user-agent'])
    response.end()
  })
  const client = open({ ...registry.config, permitPrivateRedirects: true })
  await head(client)
  await (await client.dispatcher.request({ path: '/v2/', method: 'GET' })).body.dump()
  await (await client.passThrough.request({ path: '/v2/', method: 'GET' })).body.dump()
  const storage = { origin: `https://${registry.host}`, path: '/signed', method: 'GET' } as const
  await (await client.redirectDispatcher.request(storage)).body.dump()
  expect(agents).toEqual([expect.stringMatching(/^shoal\/\d+\.\d+\.\d+$/), agents[0], undefined, agents[0]])
})

describe('loose files beside a hosts.toml', () => {
  it('say nothing: Docker and containerd read that file alone, and the others may be for a mirror', async () => {
    const registry = await start(alwaysStatus(200, { 'content-length': 0 }))
    const folder = certsDir(registry)
    folder.put('ca.crt', registry.authority.certificatePem)
    expect((await head(open(bare(registry), folder.certsDirs))).isPresent).toBe(true)
    folder.put('hosts.toml', 'server = "https://mirror.example"')
    await expect(head(open(bare(registry), folder.certsDirs))).rejects.toMatchObject({
      code: 'REGISTRY_UNREACHABLE',
    })
  })
})

describe('a registry whose settings are read again', () => {
  it('is trusted by the new settings from then on, and by the old ones where a file is missing', async () => {
    const registry = await start(alwaysStatus(404))
    const client = open(bare(registry))
    await expect(client.verify()).rejects.toThrow()
    const good = { ...client.config, caFile: registry.config.caFile }
    expect(() => client.prepare({ ...good, caFile: `${registry.config.caFile}.gone` })).toThrow(
      expect.objectContaining({ code: 'REGISTRY_FILE' }),
    )
    const commit = client.prepare(good)
    await expect(client.verify()).rejects.toThrow()
    commit()
    await client.verify()
    expect((await head(client)).isPresent).toBe(false)
    client.prepare(bare(registry))()
    await expect(client.verify()).rejects.toThrow()
  })
})
