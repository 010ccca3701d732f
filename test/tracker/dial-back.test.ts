import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { DIAL_BACKS_AT_ONCE_MAX, DialBacks } from '../../tracker/swarm/dial-back.ts'
import { startWorld, type World } from './test-tracker.ts'

let world: World | undefined
afterEach(async () => {
  await world?.close()
  world = undefined
})

test('no node hears of another without a grant on record, whatever it says that it holds', async () => {
  world = await startWorld()
  const lab = await world.makeCluster()
  const [holder, nosy] = [await world.joined(lab), await world.joined(lab)]
  const { swarm } = (await holder.pull()).body.swarms[0]
  const holds = [{ swarm, isSeed: true }]
  for (const node of [holder, nosy]) await node.heartbeat({ isFullInventory: true, holds })
  const toldOf = async (asked: object) => {
    const { status, body } = await nosy.post('/v1/reach', asked)
    expect(status).toBe(200)
    return body.other?.node
  }
  expect(await toldOf({})).toBeUndefined()
  expect(await toldOf({ node: holder.node })).toBeUndefined()
  await nosy.pull()
  expect(await toldOf({})).toBe(holder.node)
  expect(await toldOf({ node: holder.node })).toBe(holder.node)
})

test('one network, with however many node ids, leaves most dials back to others', async () => {
  const dialBacks = new DialBacks(pino({ enabled: false }))
  let end = () => {}
  const dialling = new Promise<void>((resolve) => {
    end = resolve
  })
  const from = (address: string, at: number) =>
    dialBacks.during({ id: `node ${address} ${at}`, address }, 0, () => dialling)
  const all = Array.from({ length: DIAL_BACKS_AT_ONCE_MAX }, (_, at) => from('10.0.0.1', at))
  const other = from('10.9.0.1', 0)
  end()
  await expect(other).resolves.toBeUndefined()
  const settled = await Promise.allSettled(all)
  expect(settled.filter(({ status }) => status === 'fulfilled').length).toBeLessThan(
    DIAL_BACKS_AT_ONCE_MAX / 2,
  )
})
