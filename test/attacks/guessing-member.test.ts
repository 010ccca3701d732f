import { generateKeyPairSync, sign } from 'node:crypto'
import { afterAll, afterEach, expect, vi } from 'vitest'
import {
  FAILED_GRANTS_BURST_MAX,
  NETWORK_CREDENTIALS_BURST_MAX,
  REFUSED_CREDENTIALS_BURST_MAX,
  REFUSED_CREDENTIALS_PER_MINUTE_MAX,
} from '../../tracker/pull/failed-grants.ts'
import { encoded, pullClaims } from '../core/signed-tokens.ts'
import type { Door } from '../core/test-registry.ts'
import { APP, openDoor, startWorld, type TestNode, type World } from '../tracker/test-tracker.ts'
import { attackTest, controlTest } from './ledger.ts'
import { loot } from './loot.ts'

/** A member for whom refused grants are free: it guesses passwords through the tracker, or has it verify signatures. */
const verifications = vi.hoisted(() => ({ count: 0 }))
vi.mock('../../core/registry-token.ts', async (original) => {
  const real = await original<typeof import('../../core/registry-token.ts')>()
  const isSignedBy: typeof real.isSignedBy = (token, jwk) => {
    verifications.count += 1
    return real.isSignedBy(token, jwk)
  }
  return { ...real, isSignedBy }
})
const PASSWORD = { scheme: 'basic', value: Buffer.from('alice:right').toString('base64') }
const door: Door = (request, response) => {
  if (request.headers.authorization === `Basic ${PASSWORD.value}`) return openDoor(request, response)
  response.writeHead(401, { 'www-authenticate': 'Basic realm="registry"' }).end()
}

let world: World
afterEach(() => world.close())
afterAll(() => vi.restoreAllMocks())

const guess = (at: number) => ({
  credential: { scheme: 'basic', value: Buffer.from(`alice:guess ${at}`).toString('base64') },
})
const GUESSES = REFUSED_CREDENTIALS_BURST_MAX * 3

async function guessing(node: TestNode, from = 0): Promise<string[]> {
  const answers = await Promise.all(Array.from({ length: GUESSES }, (_, at) => node.pull(guess(from + at))))
  loot.bytes += answers.filter(({ status }) => status === 200).length
  return answers.map(({ body }) => body.error?.code)
}

/** What the registry was shown of guesses. */
const guessesSeen = () =>
  world.registry.requests.filter(
    ({ authorization }) => authorization !== undefined && authorization !== `Basic ${PASSWORD.value}`,
  ).length

controlTest('with the right password a pull is granted', async () => {
  world = await startWorld({ door, registry: { kind: 'introspect' } })
  const node = await world.joined(await world.makeCluster())
  const { status } = await node.pull({ credential: PASSWORD })
  expect(status).toBe(200)
  loot.bytes += 1
})

attackTest(
  'of a member’s guessed passwords the registry sees a few, however many it sends at once',
  async () => {
    world = await startWorld({ door, registry: { kind: 'introspect' } })
    const cluster = await world.makeCluster()
    const [evil, good] = [await world.joined(cluster), await world.joined(cluster)]
    const codes = await guessing(evil)
    expect(guessesSeen()).toBe(REFUSED_CREDENTIALS_BURST_MAX)
    expect(codes.filter((code) => code === 'REGISTRY_REFUSED')).toHaveLength(REFUSED_CREDENTIALS_BURST_MAX)
    expect(codes.filter((code) => code === 'REQUESTS_TOO_MANY')).toHaveLength(
      GUESSES - REFUSED_CREDENTIALS_BURST_MAX,
    )
    // After that the right one is not found out either, and others are served.
    expect((await evil.pull({ credential: PASSWORD })).body.error.code).toBe('REQUESTS_TOO_MANY')
    expect((await good.pull({ credential: PASSWORD })).status).toBe(200)
    world.clockOffsetMs = 60_000
    await guessing(evil, GUESSES)
    expect(guessesSeen()).toBe(REFUSED_CREDENTIALS_BURST_MAX + REFUSED_CREDENTIALS_PER_MINUTE_MAX)
  },
)

attackTest('with many node ids of one address he guesses no more than that address may', async () => {
  world = await startWorld({ door, registry: { kind: 'introspect' } })
  const cluster = await world.makeCluster()
  for (let at = 0; at < 10; at += 1) await guessing(await world.joined(cluster), at * GUESSES)
  expect(guessesSeen()).toBe(NETWORK_CREDENTIALS_BURST_MAX)
})

attackTest('a registry in trouble uses up nobody’s failures', async () => {
  world = await startWorld({
    door: (_, response) => void response.writeHead(503).end(),
    registry: { kind: 'introspect' },
  })
  const node = await world.joined(await world.makeCluster())
  expect(new Set(await guessing(node))).toEqual(new Set(['REGISTRY_UNREACHABLE']))
  world.registry.door = door
  expect((await node.pull({ credential: PASSWORD })).status).toBe(200)
})

attackTest('a token costs the tracker one verification, and after some failures none', async () => {
  world = await startWorld()
  const node = await world.joined(await world.makeCluster())
  expect((await node.pull()).status).toBe(200)
  // The longest key that is taken, made by the attacker; the signature fits its own key, or none.
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 4096 })
  const selfMade = (isForged: boolean) => {
    const input = `${encoded({ alg: 'RS256', jwk: publicKey.export({ format: 'jwk' }) })}.${encoded(pullClaims(APP))}`
    const signature = sign('sha256', Buffer.from(input), privateKey)
    if (isForged) signature[9]! ^= 1
    return { credential: { scheme: 'bearer', token: `${input}.${signature.toString('base64url')}` } }
  }
  const blobs = ['1', '2', '3', '4'].map((digit) => ({
    digest: `sha256:${digit.repeat(64)}`,
    bytes: 1000,
    isWanted: true,
  }))
  for (const isForged of [true, false]) {
    const before = verifications.count
    expect((await node.pull({ ...selfMade(isForged), blobs })).status).toBe(401)
    expect(verifications.count - before).toBe(1)
  }
  const before = verifications.count
  const answers = []
  for (let at = 0; at < FAILED_GRANTS_BURST_MAX * 2; at += 1)
    answers.push(await node.pull(selfMade(at % 2 === 0)))
  loot.bytes += answers.filter(({ status }) => status === 200).length
  const tooMany = answers.filter(({ body }) => body.error?.code === 'REQUESTS_TOO_MANY')
  expect(tooMany.length).toBeGreaterThan(FAILED_GRANTS_BURST_MAX / 2)
  expect(verifications.count - before).toBe(answers.length - tooMany.length)
})
