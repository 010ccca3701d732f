import { afterAll, beforeAll, expect } from 'vitest'
import type { Door } from '../core/test-registry.ts'
import {
  APP,
  LAYER,
  OTHER,
  openDoor,
  SECRET,
  startWorld,
  type TestNode,
  type World,
} from '../tracker/test-tracker.ts'
import { attackTest } from './ledger.ts'

/** One repository of the registry is open to strangers. A member wants the other one, with what the open one gives. */
const NONE = { scheme: 'none' }
const OWNER = { scheme: 'basic', value: Buffer.from('owner:right').toString('base64') }
let world: World
let evil: TestNode
let owner: TestNode

const door: Door = (request, response) => {
  const isOpen = request.url!.startsWith(`/v2/${APP}/`)
  if (isOpen || request.headers.authorization === `Basic ${OWNER.value}`) return openDoor(request, response)
  response.writeHead(401, { 'www-authenticate': 'Basic realm="registry"' }).end()
}

beforeAll(async () => {
  world = await startWorld({ door })
  const cluster = await world.makeCluster()
  evil = await world.joined(cluster)
  owner = await world.joined(cluster)
  expect((await owner.pull(secretWith(OWNER))).status).toBe(200)
})
afterAll(() => world?.close())

const secretWith = (credential: object) => ({
  repository: OTHER,
  credential,
  blobs: [{ ...SECRET, isWanted: true }],
})
const openPull = () => evil.pull({ credential: NONE, blobs: [{ ...LAYER, isWanted: true }] })

async function expectRefused(question: Record<string, unknown>, codes: string[]): Promise<void> {
  const { status, body } = await evil.pull(question)
  expect(status).toBeGreaterThanOrEqual(400)
  expect(codes).toContain(body.error.code)
}

attackTest('a private repository is not open because a member claims so', async () => {
  await expectRefused(secretWith(NONE), ['CREDENTIAL_REQUIRED'])
})

attackTest('a private repository is not open because another one of the registry is', async () => {
  expect((await openPull()).status).toBe(200)
  await expectRefused(secretWith(NONE), ['CREDENTIAL_REQUIRED'])
})

attackTest('a private blob is not in the open repository because a member names it there', async () => {
  await expectRefused({ credential: NONE, blobs: [{ ...SECRET, isWanted: true }] }, ['CREDENTIAL_REQUIRED'])
})

attackTest("the tracker's own peer token is no credential, not even for its own repository", async () => {
  const { body } = await openPull()
  const token = { scheme: 'bearer', token: body.peerToken }
  await expectRefused(secretWith(token), ['TOKEN_SCOPE', 'TOKEN_KEY_UNTRUSTED', 'REGISTRY_REFUSED'])
  const asked = await evil.pull({ credential: token })
  // The open repository is open with any credential; the token added nothing.
  expect(asked.body.peerToken).not.toBe(body.peerToken)
})

attackTest('a login page that answers 200 with the length of the private blob opens nothing', async () => {
  world.registry.door = (_, response) =>
    void response.writeHead(200, { 'content-length': SECRET.bytes }).end()
  for (const credential of [NONE, { scheme: 'bearer', token: 'made-up' }, { scheme: 'basic', value: 'eDp4' }])
    await expectRefused(secretWith(credential), ['CREDENTIAL_REQUIRED', 'CREDENTIAL_UNPROVEN'])
  world.registry.door = door
})

attackTest("made-up credentials end nobody's sharing", async () => {
  for (const credential of [
    { scheme: 'bearer', token: 'made-up' },
    { scheme: 'basic', value: 'eDp4' },
  ])
    await expectRefused(secretWith(credential), ['REGISTRY_REFUSED'])
  expect((await owner.pull(secretWith(OWNER))).status).toBe(200)
  expect((await openPull()).status).toBe(200)
})
