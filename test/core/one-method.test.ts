import { expect, test } from 'vitest'
import { HEDGE_MS, type QuestionMethod } from '../../core/blob-question.ts'
import { byOneMethod } from '../../core/one-method.ts'
import type { RegistryClient } from '../../core/registry-client.ts'
import { RegistryHabits } from '../../core/registry-habits.ts'
import { parseRegistryHost } from '../../core/repository.ts'
import { REPOSITORY } from './test-registry.ts'

/** A time after which nothing can be called quick. */
const LATE_MS = HEDGE_MS * 4

/** Answers after so many milliseconds, with the method's name unless the question was ended before. */
function start(afterMs: Record<QuestionMethod, number>) {
  const habits = new RegistryHabits(parseRegistryHost('registry.example.com'))
  const asked: QuestionMethod[] = []
  const ended: QuestionMethod[] = []
  const ask = (by: QuestionMethod, signal: AbortSignal) =>
    new Promise<QuestionMethod>((resolve, reject) => {
      asked.push(by)
      const timer = setTimeout(resolve, afterMs[by], by)
      signal.addEventListener('abort', () => {
        ended.push(by)
        clearTimeout(timer)
        reject(signal.reason)
      })
    })
  const registry = { habits } as RegistryClient
  return { habits, asked, ended, run: () => byOneMethod(registry, REPOSITORY, ask) }
}

test('questions that HEAD answers in time are asked by HEAD alone', async () => {
  const { run, asked, habits } = start({ HEAD: 0, GET: 0 })
  expect(await run()).toBe('HEAD')
  expect(asked).toEqual(['HEAD'])
  expect(habits.has('headUnreliable', REPOSITORY)).toBe(false)
})

test('where HEAD is late all are asked by GET, whose result ends them; the next ones are asked by GET at once', async () => {
  const { run, asked, ended } = start({ HEAD: LATE_MS, GET: 0 })
  expect(await run()).toBe('GET')
  expect(ended).toContain('HEAD')
  const startedAtMs = performance.now()
  expect(await run()).toBe('GET')
  expect(performance.now() - startedAtMs).toBeLessThan(HEDGE_MS / 2)
  expect(asked).toEqual(['HEAD', 'GET', 'GET'])
})

test('what others find out about HEAD meanwhile is not waited for', async () => {
  const { run, habits } = start({ HEAD: LATE_MS, GET: 0 })
  const startedAtMs = performance.now()
  const running = run()
  habits.note('headUnreliable', REPOSITORY)
  expect(await running).toBe('GET')
  expect(performance.now() - startedAtMs).toBeLessThan(HEDGE_MS / 2)
})

test('what is found out about another repository says nothing about this one: its owner may have made it so', async () => {
  const { run, habits, asked } = start({ HEAD: HEDGE_MS / 5, GET: 0 })
  const running = run()
  habits.note('headUnreliable', 'evil/own')
  expect(await running).toBe('HEAD')
  expect(asked).toEqual(['HEAD'])
})

test('of a registry that is far away HEAD may still decide first, and has done nothing wrong', async () => {
  const { run, habits, ended } = start({ HEAD: HEDGE_MS * 1.5, GET: HEDGE_MS * 1.5 })
  expect(await run()).toBe('HEAD')
  expect(ended).toContain('GET')
  expect(habits.has('headUnreliable', REPOSITORY)).toBe(false)
})

test('of a registry that is known to be late as a whole the answer to HEAD is awaited', async () => {
  const { run, habits, asked } = start({ HEAD: HEDGE_MS * 1.5, GET: 0 })
  habits.note('late')
  expect(await run()).toBe('HEAD')
  expect(asked).toEqual(['HEAD'])
})
