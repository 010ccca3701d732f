import { beforeEach, expect, test, vi } from 'vitest'
import { RegistryHabits } from '../../core/registry-habits.ts'
import { parseRegistryHost } from '../../core/repository.ts'
import { LATE_MS, LateWord, SHARING_WORD_MS_MAX } from '../../proxy/late-word.ts'
import type { Verdict } from '../../proxy/verdict.ts'

/** Only the clock is the test's. */

const ACCEPTED: Verdict = { acceptedAtMs: 1, bytes: 1 }
let habits: RegistryHabits

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'Date'] })
  habits = new RegistryHabits(parseRegistryHost('registry.example'))
  return () => vi.useRealTimers()
})

/** The question goes out at 0, the caller's own request after `patienceMs`; whichever is undefined is never answered. */
async function story({
  wordMs,
  directMs,
  verdict = ACCEPTED,
  patienceMs = LATE_MS,
}: {
  wordMs: number
  directMs?: number
  verdict?: Verdict | Error
  patienceMs?: number
}): Promise<{ isShared: boolean; isLate: boolean }> {
  const atMs = performance.now()
  const word = new Promise<Verdict>((resolve, reject) => {
    setTimeout(() => (verdict instanceof Error ? reject(verdict) : resolve(verdict)), wordMs)
  })
  word.catch(() => undefined)
  await vi.advanceTimersByTimeAsync(patienceMs)
  const late = new LateWord(word, { habits, atMs, patienceMs })
  let isBegun = false
  if (directMs !== undefined) {
    setTimeout(() => {
      isBegun = !late.shared.aborted
      if (isBegun) late.direct.onStart(200, {})
    }, directMs)
  }
  await vi.advanceTimersByTimeAsync(wordMs + (directMs ?? 0))
  await late.verdict
  return { isShared: late.shared.aborted && !isBegun, isLate: habits.has('late') }
}

test.each([
  ['as slow at everything', { wordMs: 600, directMs: 600 }, { isShared: true, isLate: false }],
  ['quicker directly', { wordMs: 900, directMs: 100 }, { isShared: false, isLate: true }],
  [
    'slow beyond a second',
    { wordMs: SHARING_WORD_MS_MAX + 1, directMs: 2000 },
    { isShared: false, isLate: true },
  ],
  ['silent', { wordMs: 10_000, verdict: new Error('no answer') }, { isShared: false, isLate: true }],
  [
    'refusing late',
    { wordMs: 600, directMs: 600, verdict: { refusal: 'registry_refused' } as const },
    { isShared: false, isLate: false },
  ],
  [
    'silent, and the client vouches',
    { wordMs: 10_000, verdict: { acceptedAtMs: undefined, bytes: 1 } },
    { isShared: true, isLate: true },
  ],
])('a registry that is %s', async (_name, answers, outcome) => {
  expect(await story(answers)).toEqual(outcome)
})

test('a late registry is not late any more once its word is less than the patience behind its answer', async () => {
  habits.note('late')
  const behind = { wordMs: 100 + LATE_MS + 1, directMs: 100, patienceMs: 0 }
  expect(await story(behind)).toEqual({ isShared: false, isLate: true })
  expect(await story({ ...behind, wordMs: 100 + LATE_MS })).toEqual({ isShared: false, isLate: false })
})

test('a late registry whose word comes first is shared at once', async () => {
  habits.note('late')
  expect(await story({ wordMs: 500, directMs: 600, patienceMs: 0 })).toEqual({
    isShared: true,
    isLate: false,
  })
})
