import type pg from 'pg'
import { describe, expect, it } from 'vitest'
import { Hosts } from '../../tracker/store/postgres/postgres-hosts.ts'

const [one, two] = [{ host: 'one' }, { host: 'two' }]
const answering = (row: { is_standby: boolean; timeline: number }) =>
  ({ query: async () => ({ rows: [row] }) }) as unknown as pg.ClientBase

describe('the hosts of a database', () => {
  it('are left for the next one, once for all steps that find the same', () => {
    const hosts = new Hosts([one, two])
    expect(hosts.current).toBe(one)
    for (let step = 0; step < 3; step += 1) hosts.leave(one)
    expect(hosts.current).toBe(two)
    hosts.leave(two)
    expect(hosts.current).toBe(one)
  })

  it('are used while they take writes, and a primary of before a promotion is not', async () => {
    const hosts = new Hosts([one, two])
    const primary = (timeline: number) => hosts.expectPrimary(answering({ is_standby: false, timeline }))
    const refused = { code: 'STORE_UNAVAILABLE' }
    await primary(1)
    await expect(hosts.expectPrimary(answering({ is_standby: true, timeline: 0 }))).rejects.toMatchObject(
      refused,
    )
    await primary(1)
    await primary(2)
    await expect(primary(1)).rejects.toMatchObject(refused)
    await primary(2)
  })
})
