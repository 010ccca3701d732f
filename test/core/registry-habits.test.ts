import { expect, test } from 'vitest'
import { Conditions } from '../../core/conditions.ts'
import { createLog } from '../../core/log.ts'
import { HABIT_MS, LATE_MEMORY_MS, RegistryHabits } from '../../core/registry-habits.ts'
import type { RegistryHost } from '../../core/repository.ts'

function begin() {
  let nowMs = 1000
  const clock = () => nowMs
  const conditions = new Conditions({ log: createLog({ level: 'silent', name: 'test' }), nowMs: clock })
  const habits = new RegistryHabits('registry.test' as RegistryHost, clock)
  return { habits, conditions, codes: () => conditions.health().codes, passMs: (ms: number) => (nowMs += ms) }
}

test('a habit is remembered for its time, and its condition ends with it, although nobody asks for the habit', () => {
  const { habits, conditions, codes, passMs } = begin()
  habits.reportTo(conditions)
  habits.note('noRanges')
  habits.note('late')
  expect(codes()).toEqual(['REGISTRY_LATE', 'REGISTRY_NO_RANGES'])
  passMs(LATE_MEMORY_MS)
  expect(codes()).toEqual(['REGISTRY_NO_RANGES'])
  passMs(HABIT_MS - LATE_MEMORY_MS - 1)
  expect([habits.has('noRanges'), codes()]).toEqual([true, ['REGISTRY_NO_RANGES']])
  passMs(1)
  expect([habits.has('noRanges'), codes()]).toEqual([false, []])
})

test('the condition of a habit lasts while one repository still shows it', () => {
  const { habits, conditions, codes, passMs } = begin()
  habits.reportTo(conditions)
  habits.note('headUnreliable', 'one')
  passMs(1000)
  habits.note('headUnreliable', 'other')
  habits.forget('headUnreliable', 'other')
  expect(codes()).toEqual(['REGISTRY_HEAD_REFUSED'])
  passMs(HABIT_MS - 1000)
  expect(codes()).toEqual([])
  habits.note('headUnreliable', 'other')
  expect(habits.has('headUnreliable', 'one')).toBe(false)
  expect(codes()).toEqual(['REGISTRY_HEAD_REFUSED'])
  habits.forget('headUnreliable', 'other')
  expect(codes()).toEqual([])
})

test('habits that were seen before somebody shows them are shown from then on', () => {
  const { habits, conditions, codes } = begin()
  habits.note('redirectRefused')
  habits.reportTo(conditions)
  expect(codes()).toEqual(['REGISTRY_REDIRECT_REFUSED'])
})
