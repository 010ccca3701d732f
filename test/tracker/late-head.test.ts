import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import type { BlobHead, BlobHeadRequest } from '../../core/blob-question.ts'
import type { Digest } from '../../core/digest.ts'
import type { RegistryClient } from '../../core/registry-client.ts'
import { RegistryHabits } from '../../core/registry-habits.ts'
import { RegistryLimit } from '../../core/registry-limit.ts'
import { parseRegistryToken } from '../../core/registry-token.ts'
import type { Repository } from '../../core/repository.ts'
import { isKeyOfRegistry } from '../../tracker/pull/probe-key.ts'
import type { Door } from '../core/test-registry.ts'
import { type Answer, APP, LAYER, SMALL, startWorld, type TestNode, type World } from './test-tracker.ts'

/** Registries that answer HEAD of a blob late and GET in time, as caches and busy registries do. */
const HEAD_MS = 3000
/** A pull waits for about 0.75 s from its manifest on; here others run too. */
const GRANTED_WITHIN_MS = HEAD_MS / 2

let world: World
afterEach(() => world?.close())

async function begin(door: Door): Promise<TestNode> {
  world = await startWorld({ door })
  return world.joined(await world.makeCluster())
}

const isHead = ({ method }: IncomingMessage) => method === 'HEAD'

/** Gives the blobs of `APP` to whom `isLetIn` says, as registries with ranges do. */
async function serveLate(
  request: IncomingMessage,
  response: ServerResponse,
  isLetIn: (authorization: string | undefined) => boolean,
  headMs = HEAD_MS,
): Promise<void> {
  if (isHead(request)) await delay(headMs)
  if (!isLetIn(request.headers.authorization)) return void response.writeHead(401).end()
  const blob = [SMALL, LAYER].find(({ digest }) => request.url === `/v2/${APP}/blobs/${digest}`)
  if (blob === undefined) return void response.writeHead(404).end()
  if (isHead(request)) return void response.writeHead(200, { 'content-length': blob.bytes }).end()
  response.writeHead(206, { 'content-length': 1, 'content-range': `bytes 0-0/${blob.bytes}` }).end('x')
}

const bearer = (token: string) => ({ credential: { scheme: 'bearer', token } })
const NONE = { credential: { scheme: 'none' } }
const PASSWORD = { credential: { scheme: 'basic', value: Buffer.from('alice:right').toString('base64') } }
const codeOf = ({ status, body }: Answer) => [status, body.error?.code]

describe('a registry whose HEAD takes three seconds', () => {
  it.each<
    [
      string,
      (token: string) => Record<string, unknown>,
      (authorization: string | undefined, token: string) => boolean,
    ]
  >([
    ['a signed token', bearer, (it, token) => it === `Bearer ${token}`],
    ['an opaque token', () => bearer('opaque'), (it) => it === 'Bearer opaque'],
    ['a password', () => PASSWORD, (it) => it === `Basic ${PASSWORD.credential.value}`],
    ['no credential', () => NONE, () => true],
  ])('is asked by GET soon enough for a pull with %s', async (_, credential, isLetIn) => {
    const node = await begin(async (request, response) =>
      serveLate(request, response, (authorization) => isLetIn(authorization, token)),
    )
    const token = world.token()
    const startedAtMs = performance.now()
    expect(codeOf(await node.pull(credential(token)))).toEqual([200, undefined])
    expect(performance.now() - startedAtMs).toBeLessThan(GRANTED_WITHIN_MS)
  })

  it('is not asked by HEAD again, whoever comes', async () => {
    const node = await begin((request, response) => serveLate(request, response, () => true))
    await node.pull(NONE)
    const asked = world.registry.requests.length
    world.clockOffsetMs = 10 * 60_000
    await node.pull(NONE)
    const later = world.registry.requests.slice(asked).map(({ line }) => line)
    expect(later.length).toBeGreaterThan(0)
    expect(later.filter((line) => line.startsWith('HEAD'))).toEqual([])
  })
})

describe('answers to HEAD and to GET are not mixed', () => {
  /** HEAD is late for the caller and refuses others at once; GET sends everybody to a login page. */
  function beginWithLogin(isCaller: (authorization: string | undefined) => boolean): Promise<TestNode> {
    return begin(async (request, response) => {
      const isTheirs = isCaller(request.headers.authorization)
      if (isHead(request)) await serveLate(request, response, () => isTheirs, isTheirs ? HEAD_MS : 0)
      else response.writeHead(302, { location: '/login' }).end()
    })
  }

  it.each([
    ['a password', PASSWORD],
    ['an opaque token', bearer('opaque')],
  ])('%s is not proven by a GET for the caller and a HEAD for others', async (_, credential) => {
    const node = await beginWithLogin((authorization) => /opaque$|^Basic/.test(authorization ?? ''))
    expect(codeOf(await node.pull(credential))).toEqual([403, 'CREDENTIAL_UNPROVEN'])
  })

  it('nor is a signing key', async () => {
    const node = await beginWithLogin((authorization) => authorization === `Bearer ${token}`)
    const token = world.token()
    expect(codeOf(await node.pull(bearer(token)))).toEqual([401, 'TOKEN_KEY_UNTRUSTED'])
    expect((await world.admin().request('GET', '/admin/v1/token-keys')).body.tokenKeys).toEqual([])
  })

  it('a key is not trusted by GET, if HEAD took an altered token in time', async () => {
    await begin(() => undefined)
    const jwt = world.token()
    const asked: string[] = []
    const registry = {
      host: world.registry.host,
      habits: new RegistryHabits(world.registry.host),
      limit: new RegistryLimit(),
      headBlob: async ({ authorization, onceBy, signal }: BlobHeadRequest): Promise<BlobHead> => {
        asked.push(onceBy!)
        const isOwn = authorization === `Bearer ${jwt}`
        const isAltered = authorization !== undefined && !isOwn
        if (onceBy === 'HEAD' && !isAltered) await delay(HEAD_MS, undefined, { ...(signal && { signal }) })
        const isTaken = isOwn || (isAltered && onceBy === 'HEAD')
        if (!isTaken) return { isPresent: false, status: 401 }
        return { isPresent: true, bytes: LAYER.bytes, isRedirect: false }
      },
    } as unknown as RegistryClient
    const blob = { repository: APP as Repository, digest: LAYER.digest as Digest }
    const question = { registry, token: parseRegistryToken(jwt), jwt, ...blob }
    expect(await isKeyOfRegistry(question)).toBe(false)
    expect(asked).not.toContain('GET')
  })

  it('a repository is not open for a HEAD that says yes to everything, where GET knows no made-up blob', async () => {
    const node = await begin(async (request, response) => {
      const isReal = request.url!.endsWith(LAYER.digest)
      if (!isHead(request)) return void response.writeHead(404).end()
      await delay(isReal ? 0 : 600)
      response.writeHead(200, { 'content-length': LAYER.bytes }).end()
    })
    expect(codeOf(await node.pull(NONE))).toEqual([401, 'CREDENTIAL_REQUIRED'])
  })

  it('a repository is not open for a GET, where HEAD said in time that it is not', async () => {
    const node = await begin((request, response) => serveLate(request, response, () => !isHead(request), 0))
    expect(codeOf(await node.pull(NONE))).toEqual([401, 'CREDENTIAL_REQUIRED'])
  })
})
