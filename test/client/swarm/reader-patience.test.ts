import { setTimeout } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { type Stalling, unlessStalled } from '../../../client/swarm/reader-patience.ts'

const never = new Promise<void>(() => undefined)
const stalledCode = { code: 'SWARM_STALLED' }

function stalling(changes: Partial<Stalling> = {}): Stalling {
  return {
    movedAtMs: () => Number.NEGATIVE_INFINITY,
    isPromised: () => false,
    isRegistryLimited: () => false,
    limits: { ms: 1000, promisedMs: 3000 },
    ...changes,
  }
}

async function tookMs(wait: Promise<unknown>): Promise<number> {
  const startedAtMs = performance.now()
  await expect(wait).rejects.toMatchObject(stalledCode)
  return performance.now() - startedAtMs
}

describe.concurrent('a reader that waits', () => {
  test('gets what comes in time, and its error', async () => {
    await expect(unlessStalled(Promise.resolve(7), stalling())).resolves.toBe(7)
    await expect(unlessStalled(Promise.reject(new Error('gone')), stalling())).rejects.toThrow('gone')
  })

  test('stops waiting where nothing moves, whatever moved before it waited', async () => {
    const ms = await tookMs(unlessStalled(never, stalling({ movedAtMs: () => performance.now() - 60_000 })))
    expect(ms).toBeGreaterThan(900)
    expect(ms).toBeLessThan(2500)
  })

  test('waits longer for what was promised, and not for ever', async () => {
    const ms = await tookMs(unlessStalled(never, stalling({ isPromised: () => true })))
    expect(ms).toBeGreaterThan(2900)
    expect(ms).toBeLessThan(5000)
  })

  test.each([
    ['bytes arrive', { movedAtMs: () => performance.now() - 100 }],
    ['the registry told this node to wait', { isRegistryLimited: () => true }],
  ])('goes on waiting while %s', async (_, changes) => {
    const late = setTimeout(2500, 'late')
    await expect(unlessStalled(late, stalling(changes))).resolves.toBe('late')
  })
})
