import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseDigest } from '../../core/digest.ts'
import { issueLeaf, makeAuthority, spkiOf } from '../../core/issue-certificate.ts'
import { openRegistries, type RegistryClient } from '../../core/registry-client.ts'
import { type RegistryConfig, registryConfig } from '../../core/registry-config.ts'
import { parseRegistryToken } from '../../core/registry-token.ts'
import { canonicalKey, libtrustKeyId } from '../../core/token-algorithms.ts'
import { TokenKeys } from '../../core/token-keys.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { isKeyOfRegistry } from '../../tracker/pull/probe-key.ts'
import { makeSigner, pullClaims } from './signed-tokens.ts'
import { REPOSITORY } from './test-registry.ts'

/** Debian's docker-registry with token authentication decides here, not a server of ours. */
const signer = makeSigner('ES256')
const stranger = makeSigner('ES256')
const blob = randomBytes(1000)
const DIGEST = parseDigest(`sha256:${createHash('sha256').update(blob).digest('hex')}`)
const folder = mkdtempSync(join(tmpdir(), 'shoal-registry-'))

let registry: ChildProcess
let client: RegistryClient
let config: RegistryConfig
let x5c: string[]
let strangersChain: string[]

const inFolder = (name: string, text: string) => {
  writeFileSync(join(folder, name), text, { mode: 0o600 })
  return join(folder, name)
}

beforeAll(async () => {
  const authority = await makeAuthority({ commonName: 'test authority', validForSeconds: 3600 })
  const leafFor = (name: string, spki?: Uint8Array) =>
    issueLeaf(authority, {
      commonName: name,
      validForSeconds: 3600,
      names: [{ type: 'dns', value: name }],
      usages: ['serverAuth'],
      ...(spki === undefined ? {} : { spki }),
    })
  const tokenLeaf = await leafFor('token.example', spkiOf(signer.publicKey))
  x5c = [tokenLeaf.certificatePem.replace(/-----[^-]+-----|\s/g, '')]
  const strangersAuthority = await makeAuthority({ commonName: 'stranger', validForSeconds: 3600 })
  const strangersLeaf = await issueLeaf(strangersAuthority, {
    commonName: 'token.example',
    validForSeconds: 3600,
    names: [{ type: 'dns', value: 'token.example' }],
    usages: ['serverAuth'],
    spki: spkiOf(stranger.publicKey),
  })
  strangersChain = [strangersLeaf.certificatePem.replace(/-----[^-]+-----|\s/g, '')]
  const tls = await leafFor('localhost')
  const port = await freePort()
  const bundle = inFolder('bundle.pem', `${tokenLeaf.certificatePem}\n${authority.certificatePem}\n`)
  const settings = {
    version: 0.1,
    log: { level: 'error' },
    storage: { inmemory: {} },
    http: {
      addr: `127.0.0.1:${port}`,
      tls: {
        certificate: inFolder('tls.crt', tls.certificatePem),
        key: inFolder('tls.key', tls.privateKeyPem),
      },
    },
    auth: {
      token: {
        realm: 'https://token.example',
        service: 'registry',
        issuer: 'token server',
        rootcertbundle: bundle,
      },
    },
  }
  registry = spawn('docker-registry', ['serve', inFolder('config.yml', JSON.stringify(settings))], {
    stdio: 'ignore',
  })
  const caFile = inFolder('ca.pem', authority.certificatePem)
  config = registryConfig.parse({ host: `localhost:${port}`, caFile })
  client = openRegistries([config]).get(config.host)!
  await untilItAnswers()
  await push()
}, 20_000)

afterAll(async () => {
  await client?.close()
  if (registry?.exitCode === null) {
    const ended = new Promise((resolve) => registry.once('exit', resolve))
    registry.kill()
    await ended
  }
  rmSync(folder, { recursive: true })
})

async function untilItAnswers(): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const answer = await client.dispatcher.request({ method: 'GET', path: '/v2/' }).catch(() => undefined)
    await answer?.body.dump()
    if (answer !== undefined) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error('docker-registry did not start')
}

async function push(): Promise<void> {
  const access = [{ type: 'repository', name: REPOSITORY, actions: ['pull', 'push'] }]
  const authorization = `Bearer ${signer.sign(pullClaims(REPOSITORY, { access }), { x5c })}`
  const headers = { authorization, 'content-type': 'application/octet-stream' }
  const begun = await client.dispatcher.request({
    method: 'POST',
    path: `/v2/${REPOSITORY}/blobs/uploads/`,
    headers: { authorization },
  })
  await begun.body.dump()
  const location = new URL(String(begun.headers.location))
  location.searchParams.set('digest', DIGEST)
  const path = location.pathname + location.search
  const done = await client.dispatcher.request({ method: 'PUT', path, headers, body: blob })
  await done.body.dump()
  expect(done.statusCode).toBe(201)
}

const registries = () => new Map([[config.host, client]])

function isVouchedFor(jwt: string) {
  const token = parseRegistryToken(jwt)
  return isKeyOfRegistry({ registry: client, token, jwt, repository: REPOSITORY, digest: DIGEST })
}

describe.skipIf(mustSkipFor(['docker-registry']))('docker-registry', () => {
  it('says how long the blob is to a token that grants pull, and 401 to others', async () => {
    const head = (jwt: string) =>
      client.headBlob({ repository: REPOSITORY, digest: DIGEST, authorization: `Bearer ${jwt}` })
    expect(await head(signer.sign(pullClaims(REPOSITORY), { x5c }))).toEqual({
      isPresent: true,
      isRedirect: false,
      bytes: blob.length,
    })
    expect(await head(signer.sign(pullClaims('team/other'), { x5c }))).toEqual({
      isPresent: false,
      status: 401,
    })
  })

  it('vouches for the key of its token server', async () => {
    expect(await isVouchedFor(signer.sign(pullClaims(REPOSITORY), { x5c }))).toBe(true)
  })

  it('does not vouch for a stranger’s key in x5c or jwk', async () => {
    const claims = pullClaims(REPOSITORY)
    expect(await isVouchedFor(stranger.sign(claims, { x5c: strangersChain }))).toBe(false)
    expect(await isVouchedFor(stranger.sign(claims, { jwk: stranger.publicJwk }))).toBe(false)
  })

  it('names keys as we do: a token with its key id is accepted, and its bundle resolves it', async () => {
    const tokenKeysFile = join(folder, 'bundle.pem')
    const keys = new TokenKeys({ registries: registries(), configs: [{ ...config, tokenKeysFile }] })
    const jwt = signer.sign(pullClaims(REPOSITORY), { kid: libtrustKeyId(signer.publicKey) })
    expect(keys.candidateFor(config.host, parseRegistryToken(jwt))).toEqual(canonicalKey(signer.publicJwk))
    expect(await isVouchedFor(jwt)).toBe(true)
  })
})
