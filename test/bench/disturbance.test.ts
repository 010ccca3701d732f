import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { State, Transfer } from '../../bench/engine/report.ts'
import { isDisturbed, OTHERS_CORES_MAX, RERUNS_MAX, runsAgain, settled } from '../../bench/engine/reruns.ts'
import { processorTimes, processorUse, readProcessors } from '../../lab/machine/processor-use.ts'

describe('the use of the processors', () => {
  const before = { times: { busy: 100, idle: 50, steal: 1 }, ownSeconds: 10 }

  it('is read from the line of all processors: guests are part of user time, waiting for a disk is idle', () => {
    const stat = 'cpu  1000 100 300 4000 500 20 30 60 700 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n'
    expect(processorTimes(stat)).toEqual({ busy: 14.5, idle: 45, steal: 0.6 })
  })

  it('of others is what was used beyond the measured processes, in cores', () => {
    const after = { times: { busy: 117, idle: 52, steal: 2 }, ownSeconds: 24 }
    expect(processorUse(before, after, 10)).toEqual({ othersCores: 0.3, idleCores: 0.2, stealCores: 0.1 })
  })

  it('of others is 0 when the measured processes counted a tick more than the machine', () => {
    const after = { times: { busy: 109.99, idle: 60, steal: 1 }, ownSeconds: 20 }
    expect(processorUse(before, after, 10).othersCores).toBe(0)
  })

  it('finds a process that is not measured, on this machine', async () => {
    const startedAtMs = performance.now()
    const [all, others] = [readProcessors([process.pid]), readProcessors([])]
    for (const until = Date.now() + 600; Date.now() < until; ) readFileSync('/proc/self/stat')
    const seconds = (performance.now() - startedAtMs) / 1000
    const measured = processorUse(all, readProcessors([process.pid]), seconds).othersCores
    const unmeasured = processorUse(others, readProcessors([]), seconds).othersCores
    // This process worked all the time: whoever does not measure it sees a core more, or less if it had to wait.
    expect(unmeasured - measured).toBeGreaterThan(0.2)
  })
})

describe('a turn that others disturb', () => {
  const transfer = (state: State, othersCores: number, attempt = 1) =>
    ({ state, othersCores, attempt, isCounted: true }) as Transfer
  const counted = (attempts: Transfer[][]) =>
    settled(attempts)
      .filter(({ isCounted }) => isCounted)
      .map(({ state, attempt }) => [state, attempt])

  it('is one in which they used more than a fifth of a core', () => {
    expect(OTHERS_CORES_MAX).toBe(0.2)
    expect(isDisturbed({ othersCores: 0.2 })).toBe(false)
    expect(isDisturbed({ othersCores: 0.21 })).toBe(true)
  })

  it('runs again when one of its transfers was', () => {
    expect(runsAgain([[transfer('fresh', 0.1), transfer('warm', 0.1)]])).toBe(false)
    expect(runsAgain([[transfer('fresh', 0.1), transfer('warm', 0.3)]])).toBe(true)
  })

  it('is complete when each state was quiet once, whichever attempt that was', () => {
    const attempts = [
      [transfer('fresh', 0.1), transfer('warm', 0.3)],
      [transfer('fresh', 0.5, 2), transfer('warm', 0, 2)],
    ]
    expect(runsAgain(attempts)).toBe(false)
    expect(counted(attempts)).toEqual([
      ['fresh', 1],
      ['warm', 2],
    ])
  })

  it('runs again no more often than the bound, then the least disturbed counts', () => {
    const attempts = [[transfer('warm', 0.9)], [transfer('warm', 0.3, 2)], [transfer('warm', 0.5, 3)]]
    expect(attempts).toHaveLength(1 + RERUNS_MAX)
    expect(runsAgain(attempts.slice(0, -1))).toBe(true)
    expect(runsAgain(attempts)).toBe(false)
    expect(counted(attempts)).toEqual([['warm', 2]])
  })

  it('is reported whole', () => {
    const attempts = [[transfer('warm', 0.9)], [transfer('warm', 0.1, 2)]]
    expect(settled(attempts)).toHaveLength(2)
  })
})
