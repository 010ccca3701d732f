import { afterEach, beforeEach, expect, test } from 'vitest'
import { type KeyedCertificate, makeAuthority } from '../../../core/issue-certificate.ts'
import { issueForLocalhost } from '../../../lab/machine/localhost-certificate.ts'
import { type Door, startTestRegistry, type TestRegistry } from '../../core/test-registry.ts'
import { unwatchedTracker } from './unwatched-tracker.ts'

/** Any HTTPS server may stand for a tracker: it answers 404, which is an answer too, or what the test says. */
const closers: (() => Promise<unknown>)[] = []
let authority: KeyedCertificate
let tls: { cert: string; key: string }
beforeEach(async () => {
  authority = await makeAuthority({ commonName: 'a', validForSeconds: 600 })
  const leaf = await issueForLocalhost(authority)
  tls = { cert: leaf.certificatePem, key: leaf.privateKeyPem }
})
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

const refuse =
  (status: number, code: string): Door =>
  (_, response) =>
    void response.writeHead(status).end(JSON.stringify({ error: { code, message: 'no' } }))
const answering = refuse(404, 'ROUTE_UNKNOWN')
const frozen: Door = () => undefined

async function start(...doors: Door[]) {
  const servers: TestRegistry[] = []
  for (const door of doors) {
    const server = await startTestRegistry(door, {}, { tls })
    closers.push(() => server.close())
    servers.push(server)
  }
  const [trackerUrl, ...otherTrackerUrls] = servers.map(({ host }) => `https://${host}`)
  const tracker = unwatchedTracker({ trackerUrl, otherTrackerUrls, trackerCaPem: authority.certificatePem })
  closers.push(() => tracker.close())
  return { tracker, servers, urls: [trackerUrl, ...otherTrackerUrls] }
}

const heartbeat = { code: 'TRACKER_REFUSED', trackerCode: 'ROUTE_UNKNOWN' }

test('a heartbeat that the first tracker does not answer is answered by the next, which is asked from then on', async () => {
  const { tracker, servers, urls } = await start(frozen, answering)
  const beganMs = performance.now()
  await expect(tracker.heartbeat({} as never)).rejects.toMatchObject(heartbeat)
  expect(performance.now() - beganMs).toBeLessThan(1_800)
  expect(tracker.origin).toBe(urls[1])
  await expect(tracker.heartbeat({} as never)).rejects.toMatchObject(heartbeat)
  expect(servers.map(({ requests }) => requests.length)).toEqual([1, 2])
})

test('a call in flight to a tracker that is left goes to the next', async () => {
  const { tracker, servers } = await start(frozen, answering)
  const call = tracker.pull({} as never)
  await expect.poll(() => servers[0]!.requests.length).toBe(1)
  await expect(tracker.heartbeat({} as never)).rejects.toMatchObject(heartbeat)
  await expect(call).rejects.toMatchObject(heartbeat)
})

test('a tracker that is locked, or has no database, is passed by', async () => {
  const { tracker, urls } = await start(
    refuse(503, 'TRACKER_LOCKED'),
    refuse(503, 'STORE_UNAVAILABLE'),
    answering,
  )
  await expect(tracker.pull({} as never)).rejects.toMatchObject(heartbeat)
  expect(tracker.origin).toBe(urls[2])
})

test('a registry that does not answer the tracker is no reason to leave it', async () => {
  const { tracker, servers, urls } = await start(refuse(503, 'REGISTRY_UNREACHABLE'), answering)
  await expect(tracker.pull({} as never)).rejects.toMatchObject({ trackerCode: 'REGISTRY_UNREACHABLE' })
  expect(tracker.origin).toBe(urls[0])
  expect(servers[1]!.requests).toEqual([])
})

test('a call that takes long is no reason to leave either: heartbeats judge', async () => {
  const { tracker, urls } = await start(frozen, answering)
  await expect(tracker.pull({} as never, 300)).rejects.toMatchObject({ code: 'TRACKER_UNAVAILABLE' })
  expect(tracker.origin).toBe(urls[0])
})

test('when none answers, each was asked once', async () => {
  const { tracker, servers } = await start(refuse(503, 'TRACKER_LOCKED'), refuse(503, 'TRACKER_LOCKED'))
  await expect(tracker.heartbeat({} as never)).rejects.toMatchObject({ code: 'TRACKER_UNAVAILABLE' })
  expect(servers.map(({ requests }) => requests.length)).toEqual([1, 1])
})
