import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { EVENT_STREAMS_MAX } from '../../tracker/admin/event-stream.ts'
import { EVENTS_PER_LOOK_MAX } from '../../tracker/admin/follow.ts'
import { type AdminWorld, startAdminWorld } from './admin-world.ts'

const PATH = '/admin/v1/events'

describe('events of the admin API', () => {
  let world: AdminWorld
  beforeAll(async () => {
    world = await startAdminWorld()
  })
  afterAll(() => world.close())

  const follow = async (
    isEnough: (text: string) => boolean,
    headers: Record<string, string> = {},
    path = PATH,
  ) => {
    const caller = world.admin()
    try {
      return await caller.stream(path, headers, isEnough)
    } finally {
      await caller.close()
    }
  }

  it('tell what is done, in order, and go on where a reader stopped', async () => {
    const begun = Promise.withResolvers<void>()
    const reading = follow((text) => {
      begun.resolve()
      return text.includes('"target":"second"')
    })
    // The stream begins with what there is now.
    await begun.promise
    await world.newToken('first', 'reader')
    await world.newToken('second', 'reader')
    const { body } = await reading
    const ids = [...body.matchAll(/event: audit\nid: (\d+)\ndata: \{.*"target":"(first|second)"/g)]
    expect(ids.map(([, , target]) => target)).toEqual(['first', 'second'])
    const again = await follow((text) => text.includes('"target":"second"'), { 'last-event-id': ids[0]![1]! })
    expect(again.body).not.toContain('"target":"first"')
    const asked = await follow((text) => text.includes('second'), {}, `${PATH}?after=0`)
    expect(asked.body).toContain('"target":"first"')
  })

  it('say when more happened than they tell', async () => {
    const cluster = await world.makeCluster()
    for (let count = 0; count < (EVENTS_PER_LOOK_MAX + 10) / 2; count++) {
      await world.socket('clusters.pause', { cluster: cluster.cluster })
      await world.socket('clusters.resume', { cluster: cluster.cluster })
    }
    const { body } = await follow((text) => text.includes('event: audit'), {}, `${PATH}?after=1`)
    expect(body).toMatch(/^event: gap\n/)
  })

  it('end with the token of their reader', async () => {
    const token = await world.newToken('brief', 'reader')
    const { ca } = await world.adminIdentity()
    const caller = world.remoteAdmin({ ca })
    const begun = Promise.withResolvers<void>()
    const reading = caller.stream(PATH, { authorization: `Bearer ${token}` }, (text) => {
      if (text.startsWith('event: fleet')) begun.resolve()
      return false
    })
    await begun.promise
    await world.socket('adminTokens.withdraw', { name: 'brief' })
    expect(await reading).toMatchObject({ status: 200, hasEnded: true })
  })

  it('are for a bounded number of readers; room is made by those who go', async () => {
    const readers = Array.from({ length: EVENT_STREAMS_MAX }, () => world.admin())
    let opened = 0
    const allOpen = Promise.withResolvers<void>()
    const streams = readers.map((caller) =>
      caller
        .stream(PATH, {}, (text) => {
          if (text.startsWith('event: fleet') && !text.includes('alive')) {
            opened += 1
            if (opened >= EVENT_STREAMS_MAX) allOpen.resolve()
          }
          return false
        })
        .catch(() => undefined),
    )
    await allOpen.promise
    expect(await world.admin().stream(PATH)).toMatchObject({
      status: 429,
      body: { error: { code: 'REQUESTS_TOO_MANY' } },
    })
    for (const caller of readers) await caller.close()
    await Promise.all(streams)
    await expect.poll(async () => (await follow(() => true)).status, { timeout: 10_000 }).toBe(200)
  })
})
