import { afterAll, beforeAll, expect } from 'vitest'
import { openDoor, startWorld, type TestNode, type World } from '../tracker/test-tracker.ts'
import { attackTest } from './ledger.ts'

/** A member of one cluster that wants the sharing of an open registry to end in another. */
const NONE = { credential: { scheme: 'none' } }
let world: World
let evil: TestNode
let other: TestNode

beforeAll(async () => {
  world = await startWorld({ registry: { kind: 'none' }, door: openDoor })
  evil = await world.joined(await world.makeCluster('evil'))
  other = await world.joined(await world.makeCluster('other'))
  expect((await other.pull(NONE)).status).toBe(200)
})
afterAll(() => world?.close())

for (const credential of [
  { scheme: 'basic', value: 'eDp4' },
  { scheme: 'bearer', token: 'made-up' },
]) {
  attackTest(
    `a made-up ${credential.scheme} credential ends nobody's sharing of an open registry`,
    async () => {
      const asked = world.registry.requests.length
      expect((await evil.pull({ credential })).status).toBe(200)
      // The registry was asked once, and was not shown what is made up.
      const heads = world.registry.requests.slice(asked)
      expect(heads).toHaveLength(1)
      expect(heads[0]!.authorization).toBeUndefined()
      expect((await other.pull(NONE)).status).toBe(200)
      await world.restart()
      for (const node of [evil, other]) await node.close()
      expect((await other.pull(NONE)).status).toBe(200)
    },
  )
}
