import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import type { BlobHeadRequest } from '../../core/blob-question.ts'
import type { RegistryClient } from '../../core/registry-client.ts'
import { RegistryHabits } from '../../core/registry-habits.ts'
import { RegistryLimit } from '../../core/registry-limit.ts'
import { parseRegistryToken } from '../../core/registry-token.ts'
import { isKeyOfRegistry, PROBE_ROUNDS } from '../../tracker/pull/probe-key.ts'
import {
  FAILED_PROBES_PER_NODE_AND_DAY_MAX,
  FAILED_RENEWALS_PER_NODE_AND_DAY_MAX,
  KEY_RENEWED_BEFORE_MS,
  KEY_TRUST_MS,
  PROBES_PER_KEY_AND_DAY_MAX,
} from '../../tracker/pull/trusted-keys.ts'
import { makeSigner, signingInputOf } from '../core/signed-tokens.ts'
import { BLOB, type Door, REPOSITORY } from '../core/test-registry.ts'
import {
  LAYER,
  SMALL,
  startWorld,
  type TestCluster,
  type TestNode,
  type World,
  type WorldOptions,
} from './test-tracker.ts'

/** Which keys of registry tokens the tracker trusts, and for how long (core/token-keys.ts has the nodes' side). */
let world: World
let cluster: TestCluster
let node: TestNode

async function begin(options: WorldOptions = {}): Promise<void> {
  world = await startWorld(options)
  cluster = await world.makeCluster()
  node = await world.joined(cluster)
}
afterEach(() => world.close())

const hours = 3600 * 1000
/** Of the real clock: the world's is moved. */
const lasting = () => ({ exp: Math.floor(Date.now() / 1000) + 40 * 24 * 3600 })
const pullWith = (token: string, by = node) => by.pull({ credential: { scheme: 'bearer', token } })
const codeOf = async (answer: ReturnType<typeof pullWith>) => {
  const { status, body } = await answer
  return status === 200 ? 'granted' : body.error.code
}
const told = async () => (await node.heartbeat()).body.trust.tokenKeys as { issuer: string }[]
const audited = async () => {
  const { body } = await world.admin().request('GET', '/admin/v1/audit')
  return (body.entries as { action: string; actor: string; target: string }[])
    .filter(({ action }) => action.startsWith('token key'))
    .reverse()
}
const listed = async () => {
  const { body } = await world.admin().request('GET', '/admin/v1/token-keys')
  return body.tokenKeys as Record<string, unknown>[]
}
const probesLogged = () => world.logged().split('"token key probed"').length - 1
const withdraw = (id: unknown) => world.admin().post(`/admin/v1/token-keys/${id}/withdrawal`, {})

/** Lets `change` answer the n-th request (from 1) of a kind instead of the honest registry. */
type Kind = 'token' | 'altered' | 'stranger'
function meddle(jwt: string, change: (kind: Kind, nth: number, response: ServerResponse) => boolean): void {
  const honest = world.registry.door
  const seen = { token: 0, altered: 0, stranger: 0 }
  world.registry.door = (request: IncomingMessage, response) => {
    const shown = request.headers.authorization?.replace(/^Bearer /, '')
    const kind = shown === undefined ? 'stranger' : shown === jwt ? 'token' : 'altered'
    seen[kind] += 1
    if (!change(kind, seen[kind], response)) return honest(request, response)
  }
}

describe('a key that a token embeds', () => {
  it('is trusted once the registry served the token, and refused it altered and strangers, in every round', async () => {
    await begin()
    const jwt = world.token()
    expect(await codeOf(pullWith(jwt))).toBe('granted')
    const shown = world.registry.requests.map(({ authorization }) => authorization?.slice('Bearer '.length))
    const altered = shown.filter((it) => it !== undefined && it !== jwt) as string[]
    // One of each before the probe: whether the token is accepted here, and strangers are not.
    expect(shown.filter((it) => it === jwt)).toHaveLength(PROBE_ROUNDS + 1)
    expect(shown.filter((it) => it === undefined)).toHaveLength(PROBE_ROUNDS + 1)
    expect(altered).toHaveLength(PROBE_ROUNDS)
    expect(new Set(altered.map(signingInputOf))).toEqual(new Set([signingInputOf(jwt)]))
    expect(await told()).toHaveLength(1)
  })

  it('is asked about in an order that nobody foresees', async () => {
    await begin()
    const jwt = world.token()
    const asked: string[] = []
    const registry = {
      limit: new RegistryLimit(),
      habits: new RegistryHabits(world.registry.host),
      headBlob: async ({ authorization }: BlobHeadRequest) => {
        asked.push(authorization === undefined ? 's' : authorization === `Bearer ${jwt}` ? 't' : 'a')
        return asked.at(-1) === 't' ? { isPresent: true } : { isPresent: false, status: 401 }
      },
    } as unknown as RegistryClient
    const question = { registry, token: parseRegistryToken(jwt), jwt, repository: REPOSITORY, digest: BLOB }
    for (let run = 0; run < 50; run += 1) expect(await isKeyOfRegistry(question)).toBe(true)
    const rounds = asked.join('').match(/.{3}/g)!
    expect(new Set(rounds)).toEqual(new Set(['tas', 'tsa', 'ats', 'ast', 'sta', 'sat']))
  })

  it.each<[string, (kind: Kind, nth: number, response: ServerResponse) => boolean]>([
    [
      'the token is refused once',
      (kind, nth, response) => kind === 'token' && nth === PROBE_ROUNDS && end(response, 401),
    ],
    [
      'the altered token is served once',
      (kind, nth, response) => kind === 'altered' && nth === PROBE_ROUNDS && end(response, 200),
    ],
    [
      'a stranger is served once',
      (kind, nth, response) => kind === 'stranger' && nth === PROBE_ROUNDS && end(response, 200),
    ],
    ['the altered token is forbidden', (kind, _, response) => kind === 'altered' && end(response, 403)],
    ['the altered token is unknown', (kind, _, response) => kind === 'altered' && end(response, 404)],
    ['the registry is busy', (kind, nth, response) => kind === 'altered' && nth === 3 && end(response, 429)],
    ['strangers are forbidden', (kind, _, response) => kind === 'stranger' && end(response, 403)],
    ['everybody is served', (_kind, _nth, response) => end(response, 200)],
    ['everybody is redirected', (_kind, _nth, response) => end(response, 307)],
    ['nobody is served', (_kind, _nth, response) => end(response, 401)],
  ])('is not trusted when %s', async (_, change) => {
    await begin()
    const jwt = world.token()
    meddle(jwt, change)
    const { body } = await pullWith(jwt)
    expect(await told()).toEqual([])
    // The registry may accept the token all the same; then peers see a token of the tracker's instead.
    if (body.error === undefined) expect(body.peerToken).toEqual(expect.any(String))
    else expect(['TOKEN_KEY_UNTRUSTED', 'REGISTRY_LIMITED']).toContain(body.error.code)
  })

  it('is trusted when the registry answers the token with a redirect', async () => {
    await begin()
    const jwt = world.token()
    meddle(jwt, (kind, _, response) => kind === 'token' && end(response, 307))
    expect(await codeOf(pullWith(jwt))).toBe('granted')
  })

  it('is probed once for callers that come at the same time', async () => {
    await begin()
    const tokens = Array.from({ length: 10 }, (_, index) => world.token({ sub: `user ${index}` }))
    const codes = await Promise.all(tokens.map((jwt) => codeOf(pullWith(jwt))))
    expect(codes).toEqual(tokens.map(() => 'granted'))
    const altered = world.registry.requests.filter(
      ({ authorization }) => authorization !== undefined && !tokens.includes(authorization.slice(7)),
    )
    expect(altered).toHaveLength(PROBE_ROUNDS)
  })

  it('is not trusted for a token that its own key refutes, that is over, or that grants nothing', async () => {
    await begin()
    for (const token of [
      `${world.token().slice(0, -4)}AAAA`,
      world.token({ exp: 1000 }),
      world.token({ nbf: 3e9 }),
      world.token({ access: [] }),
    ])
      await pullWith(token)
    expect(await told()).toEqual([])
  })
})

function end(response: ServerResponse, status: number): true {
  const location = { location: 'https://storage.example/blob' }
  response.writeHead(status, status === 307 ? location : { 'content-length': 1_000_000 }).end()
  return true
}

describe('trust by probe', () => {
  it('is on record with the node whose token led to it, and outlives the tracker', async () => {
    await begin()
    await node.pull()
    const [key] = await listed()
    expect(key).toMatchObject({ registry: world.registry.host, issuer: 'token server', withdrawnAtMs: null })
    const [entry, ...more] = await audited()
    expect(entry).toMatchObject({ action: 'token key probed', actor: `node ${node.node}` })
    expect(entry!.target).toContain(key!.id as string)
    expect(more).toEqual([])
    await world.restart()
    await node.close()
    const asked = world.registry.requests.length
    // Nodes that know no key refuse each other.
    expect(await told()).toHaveLength(1)
    await node.pull()
    // The registry is asked about the new token and about strangers, not about the key.
    expect(world.registry.requests.length - asked).toBeLessThanOrEqual(3)
  })

  it('ends after a day, which is on record', async () => {
    await begin()
    await pullWith(world.token(lasting()))
    world.clockOffsetMs = KEY_TRUST_MS + 1000
    expect(await listed()).toEqual([])
    await world.restart()
    expect((await audited()).map(({ action }) => action)).toEqual(['token key probed', 'token key expired'])
  })

  it('is renewed beside a grant before it ends, so that no pull outlives it', async () => {
    await begin()
    const jwt = world.token(lasting())
    await pullWith(jwt)
    world.clockOffsetMs = KEY_TRUST_MS - KEY_RENEWED_BEFORE_MS + 1000
    expect(await codeOf(pullWith(jwt))).toBe('granted')
    await expect.poll(async () => (await audited()).length).toBe(2)
    world.clockOffsetMs = KEY_TRUST_MS + hours
    expect(await listed()).toHaveLength(1)
  })

  it('is not ended by a probe that somebody makes fail', async () => {
    await begin()
    const jwt = world.token(lasting())
    await pullWith(jwt)
    meddle(jwt, (kind, _, response) => kind === 'altered' && end(response, 200))
    world.clockOffsetMs = KEY_TRUST_MS - KEY_RENEWED_BEFORE_MS + 1000
    expect(await codeOf(pullWith(jwt))).toBe('granted')
    await expect.poll(() => world.logged()).toContain('"isTrusted":false')
    expect(await told()).toHaveLength(1)
  })

  it('is renewed by another member, whatever one does to its probes', async () => {
    await begin()
    const other = await world.joined(cluster)
    const jwt = world.token(lasting())
    await pullWith(jwt)
    const honest = world.registry.door
    meddle(jwt, (kind, _, response) => kind === 'altered' && end(response, 200))
    world.clockOffsetMs = KEY_TRUST_MS - KEY_RENEWED_BEFORE_MS + 1000
    for (let times = 1; times <= PROBES_PER_KEY_AND_DAY_MAX + 1; times += 1) {
      expect(await codeOf(pullWith(jwt))).toBe('granted')
      const ended = Math.min(times, FAILED_RENEWALS_PER_NODE_AND_DAY_MAX)
      await expect.poll(probesLogged).toBe(1 + ended)
    }
    world.registry.door = honest
    expect(await codeOf(pullWith(jwt, other))).toBe('granted')
    await expect.poll(async () => (await audited()).length).toBe(2)
    expect(probesLogged()).toBe(2 + FAILED_RENEWALS_PER_NODE_AND_DAY_MAX)
  })

  it('is asked for a few times a day and key, however many nodes ask', async () => {
    await begin()
    const nodes = [node, await world.joined(cluster), await world.joined(cluster)]
    const tokens = Array.from({ length: PROBES_PER_KEY_AND_DAY_MAX * 3 }, () => world.token())
    const isIssued = new Set(tokens.map((jwt) => `Bearer ${jwt}`))
    const honest = world.registry.door
    world.registry.door = (request, response) => {
      const { authorization } = request.headers
      const isAltered = authorization !== undefined && !isIssued.has(authorization)
      if (isAltered) end(response, 200)
      else return honest(request, response)
    }
    for (const [at, jwt] of tokens.entries())
      expect(await codeOf(pullWith(jwt, nodes[at % 3]))).toBe('TOKEN_KEY_UNTRUSTED')
    expect(probesLogged()).toBe(PROBES_PER_KEY_AND_DAY_MAX)
  })

  it('is asked for a few times a day and node, whatever keys it makes', async () => {
    await begin({ door: acceptsAnySigner() })
    const attempt = () => codeOf(pullWith(world.token({}, makeSigner('ES256'))))
    for (let at = 0; at < FAILED_PROBES_PER_NODE_AND_DAY_MAX * 2; at += 1)
      expect(await attempt()).toBe('TOKEN_KEY_UNTRUSTED')
    expect(probesLogged()).toBe(FAILED_PROBES_PER_NODE_AND_DAY_MAX)
  })
})

describe('a probe that is spread over time', () => {
  const PAUSE_MS = 40
  const layers = [SMALL, LAYER]
  const wanted = { blobs: layers.map((blob) => ({ ...blob, isWanted: true })) }
  const isSigned = async () => (await node.pull(wanted)).body.peerToken === null

  it('leaves the first pull one question of each kind, and one for each other blob', async () => {
    await begin({ probePauseMs: 60_000 })
    const { status, body } = await node.pull(wanted)
    // Peers see a token of the tracker's until the registry's key is trusted.
    expect([status, body.refused, body.peerToken]).toEqual([200, [], expect.any(String)])
    expect(await told()).toEqual([])
    // The token, altered, a stranger, and the second layer.
    expect(world.registry.requests).toHaveLength(4)
    // Nothing more for another pull with a token of its own than to ask about that.
    await node.pull(wanted)
    expect(world.registry.requests).toHaveLength(6)
  })

  it('comes to trust the key, after which peers verify the token themselves', async () => {
    await begin({ probePauseMs: PAUSE_MS })
    expect(await isSigned()).toBe(false)
    await expect.poll(told).toHaveLength(1)
    expect(await isSigned()).toBe(true)
    expect((await audited()).map(({ action }) => action)).toEqual(['token key probed'])
  })

  it('is refuted by one wrong answer of a later round, and the pulls of the caller go on', async () => {
    await begin({ probePauseMs: PAUSE_MS })
    const jwt = world.token()
    // One was asked before the probe.
    meddle(jwt, (kind, nth, response) => kind === 'altered' && nth === PROBE_ROUNDS + 1 && end(response, 200))
    expect(await codeOf(pullWith(jwt))).toBe('granted')
    await expect.poll(() => world.logged()).toContain('"isTrusted":false')
    expect(await told()).toEqual([])
    expect(await codeOf(pullWith(jwt))).toBe('granted')
  })

  it('stops at the first 429, costs nobody a failed probe, and begins again with a later pull', async () => {
    await begin({ probePauseMs: PAUSE_MS })
    let limitedUntilMs = Number.POSITIVE_INFINITY
    const honest = world.registry.door
    world.registry.door = (request, response) => {
      const isLimited = world.registry.requests.length > 4 && Date.now() < limitedUntilMs
      if (isLimited) response.writeHead(429, { 'retry-after': '1' }).end()
      else return honest(request, response)
    }
    for (let times = 0; times < PROBES_PER_KEY_AND_DAY_MAX + 1; times += 1) {
      limitedUntilMs = Number.POSITIVE_INFINITY
      if (times === 0) expect(await codeOf(node.pull(wanted))).toBe('granted')
      const asked = world.registry.requests.length
      // The probe of the last pull meets the limit, with one round.
      await expect.poll(() => world.registry.requests.length - asked, { timeout: 5000 }).toBe(3)
      await wait(PAUSE_MS)
      // A caller finds out once: its credential is not asked about again until then.
      const caller = { credential: { scheme: 'bearer', token: world.token() } }
      expect(await codeOf(node.pull(caller))).toBe('REGISTRY_LIMITED')
      const atRest = world.registry.requests.length
      for (let more = 0; more < 4; more += 1) expect(await codeOf(node.pull(caller))).toBe('REGISTRY_LIMITED')
      await wait(2 * PAUSE_MS)
      expect(world.registry.requests).toHaveLength(atRest)
      limitedUntilMs = Date.now()
      await expect.poll(() => codeOf(node.pull(wanted)), { timeout: 3000 }).toBe('granted')
    }
    await expect.poll(told, { timeout: 3000 }).toHaveLength(1)
  }, 30_000)
})

/** Serves whatever bearer comes, also an altered one; strangers are refused. */
function acceptsAnySigner(): Door {
  return (request, response) => void end(response, request.headers.authorization === undefined ? 401 : 200)
}

describe('a key that an administrator withdraws', () => {
  const renewal = (pull: string) => node.post(`/v1/pulls/${pull}/renew`, {})

  it('is told to nobody any more, ends the pulls under it, and is never asked about again', async () => {
    await begin()
    const { body: granted } = await node.pull()
    expect((await renewal(granted.pull)).status).toBe(200)
    const [key] = await listed()
    const { status, body } = await withdraw(key!.id)
    expect([status, body.tokenKeys]).toEqual([200, [{ ...key, withdrawnAtMs: expect.any(Number) }]])
    expect(await told()).toEqual([])
    const refusedRenewal = await renewal(granted.pull)
    expect([refusedRenewal.status, refusedRenewal.body.error.code]).toEqual([403, 'PULL_REVOKED'])
    const asked = world.registry.requests.length
    const again = async () => {
      // Under another issuer too: it is the key that is withdrawn.
      for (const token of [world.token(), world.token({ iss: 'another' })])
        expect(await codeOf(pullWith(token))).toBe('TOKEN_KEY_UNTRUSTED')
      expect(await told()).toEqual([])
    }
    await again()
    await world.restart()
    await node.close()
    await again()
    world.clockOffsetMs = KEY_TRUST_MS + hours
    await world.restart()
    expect(world.registry.requests.length).toBe(asked)
    expect((await audited()).map(({ action }) => action)).toEqual(['token key probed', 'token key withdrawn'])
    expect(await listed()).toMatchObject([{ id: key!.id, withdrawnAtMs: expect.any(Number) }])
  })

  it('must be on record, and the caller an administrator', async () => {
    await begin()
    const { status, body } = await withdraw('0123456789abcdef')
    expect([status, body.error.code]).toEqual([404, 'TOKEN_KEY_UNKNOWN'])
    expect((await withdraw('..')).status).toBeGreaterThanOrEqual(400)
    const { ca } = await world.adminIdentity()
    const stranger = world.remoteAdmin({ ca })
    for (const path of ['/admin/v1/token-keys', '/admin/v1/token-keys/0123456789abcdef/withdrawal']) {
      const answer = await stranger.request(path.endsWith('s') ? 'GET' : 'POST', path)
      expect(answer.body.error.code).toBe('LOGIN_REQUIRED')
    }
  })
})
