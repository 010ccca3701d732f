import { pino } from 'pino'
import { expect, test } from 'vitest'
import { DIAL_BACKS_AT_ONCE_MAX, DialBacks } from '../../tracker/swarm/dial-back.ts'

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
