import { afterEach, expect, test } from 'vitest'
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
