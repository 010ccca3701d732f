import { afterEach, describe, expect, test } from 'vitest'
import { digestFromHex } from '../../core/digest.ts'
import { STRANGER_MS, Strangers } from '../../core/strangers.ts'
import {
  alwaysStatus,
  BLOB,
  type Door,
  REPOSITORY,
  startTestRegistry,
  type TestRegistry,
} from './test-registry.ts'

let registry: TestRegistry
let nowMs = 0
afterEach(() => registry.close())

async function start(door: Door): Promise<{ areRefused: (repository?: string) => Promise<boolean> }> {
  registry = await startTestRegistry(door, {}, { headPatienceMs: 200 })
  const strangers = new Strangers(() => nowMs)
  const client = registry.clients.get(registry.host)!
  return {
    areRefused: (repository = REPOSITORY) =>
      strangers.areRefused(client, { repository: repository as typeof REPOSITORY, digest: BLOB }),
  }
}

test.each([
  [401, true],
  [403, true],
  [200, false],
  [302, false],
  [307, false],
  [404, false],
  [500, false],
])('a stranger who gets %i is refused: %s', async (status, isRefused) => {
  const { areRefused } = await start(alwaysStatus(status))
  expect(await areRefused()).toBe(isRefused)
  expect(registry.requests).toEqual([
    { line: `HEAD /v2/${REPOSITORY}/blobs/${BLOB}`, authorization: undefined },
  ])
})

test('the registry is asked once per repository and time, by however many want to know', async () => {
  const { areRefused } = await start(alwaysStatus(401))
  await Promise.all([areRefused(), areRefused(), areRefused('team/other')])
  nowMs += STRANGER_MS - 1
  await areRefused()
  expect(registry.requests).toHaveLength(2)
  nowMs += 1
  registry.door = alwaysStatus(302)
  expect(await areRefused()).toBe(false)
  expect(registry.requests).toHaveLength(3)
})

test('no answer is no refusal, and is not remembered', async () => {
  const { areRefused } = await start(() => {})
  expect(await areRefused()).toBe(false)
  registry.door = alwaysStatus(401)
  expect(await areRefused()).toBe(true)
})

test('who was told yes by GET is compared with a stranger who asks by GET: HEAD may be refused to everybody', async () => {
  registry = await startTestRegistry((request, response) => {
    if (request.method === 'HEAD') response.writeHead(401).end()
    else response.writeHead(302, { location: '/login' }).end()
  })
  const strangers = new Strangers()
  const client = registry.clients.get(registry.host)!
  const blob = { repository: REPOSITORY, digest: BLOB }
  expect(await strangers.areRefused(client, blob)).toBe(true)
  expect(await strangers.areRefused(client, blob, true)).toBe(false)
})

test('with a client certificate this process is no stranger: nothing is asked, and nobody is served as one', async () => {
  registry = await startTestRegistry(alwaysStatus(200))
  const client = registry.clients.get(registry.host)!
  Object.defineProperty(client, 'hasIdentity', { value: true })
  const strangers = new Strangers()
  const blob = { repository: REPOSITORY, digest: BLOB }
  expect(await strangers.standing(client, blob)).toBe('unknown')
  expect(await strangers.areRefused(client, blob)).toBe(false)
  expect(registry.requests).toEqual([])
})

describe('what strangers are served', () => {
  const OTHER = digestFromHex('b'.repeat(64))
  /** Serves `BLOB` to everybody, and nothing else. */
  const inPart: Door = (request, response) => {
    const status = request.url!.endsWith(BLOB) ? 200 : request.url!.endsWith(OTHER) ? 401 : 404
    response.writeHead(status, status === 200 ? { 'content-length': 5 } : {}).end()
  }
  const standings = async (...digests: (typeof BLOB)[]) => {
    const strangers = new Strangers(() => nowMs)
    const client = registry.clients.get(registry.host)!
    const found: string[] = []
    for (const digest of digests)
      found.push(await strangers.standing(client, { repository: REPOSITORY, digest }))
    const isOpen = digests.map((digest) => strangers.isOpen(client, { repository: REPOSITORY, digest }))
    return { found, isOpen }
  }

  test('is known blob by blob: one that is open opens no other of its repository', async () => {
    registry = await startTestRegistry(inPart)
    expect(await standings(BLOB, OTHER)).toEqual({ found: ['served', 'refused'], isOpen: [true, false] })
  })

  test('is not what they are redirected to, which may ask for a credential', async () => {
    registry = await startTestRegistry((request, response) => {
      if (!request.url!.endsWith(BLOB)) return void response.writeHead(404).end()
      response.writeHead(307, { location: 'https://store.example/blob' }).end()
    })
    expect(await standings(BLOB)).toEqual({ found: ['refused'], isOpen: [false] })
  })

  test.each([
    ['answers 429', 429],
    ['is broken', 503],
  ])('is not known while the registry %s, and a 429 is obeyed', async (_, status) => {
    registry = await startTestRegistry(alwaysStatus(status, { 'retry-after': '60' }))
    expect((await standings(BLOB, OTHER)).found).toEqual(['unknown', 'unknown'])
    expect(registry.requests).toHaveLength(status === 429 ? 1 : 2)
  })
})
