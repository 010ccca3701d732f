import { expect, test } from 'vitest'
import { CONDITIONS } from '../../core/condition-texts.ts'
import { CONDITION_SUBJECTS_MAX, Conditions } from '../../core/conditions.ts'
import { createLog } from '../../core/log.ts'

function begin() {
  const lines: { level: string; code: string; msg: string }[] = []
  let nowMs = 1000
  const log = createLog({
    level: 'info',
    name: 'test',
    destination: { write: (line: string) => void lines.push(JSON.parse(line)) },
  })
  const conditions = new Conditions({ log, nowMs: () => nowMs })
  return { conditions, lines, passMs: (ms: number) => (nowMs += ms) }
}

test('a condition is logged once when it begins and once when it ends', () => {
  const { conditions, lines, passMs } = begin()
  conditions.raise('NO_REGISTRIES')
  passMs(500)
  conditions.raise('NO_REGISTRIES')
  expect(conditions.list()).toEqual([
    { code: 'NO_REGISTRIES', subject: '', facts: {}, sinceMs: 1000, count: 2 },
  ])
  conditions.clear('NO_REGISTRIES')
  conditions.clear('NO_REGISTRIES')
  expect(conditions.list()).toEqual([])
  expect(lines.map(({ level, code, msg }) => [level, code, msg])).toEqual([
    ['error', 'NO_REGISTRIES', CONDITIONS.NO_REGISTRIES.text],
    ['info', 'NO_REGISTRIES', `no longer: ${CONDITIONS.NO_REGISTRIES.title}`],
  ])
})

test('another reason is logged, the same is not', () => {
  const { conditions, lines } = begin()
  for (const reason of ['no answer', 'no answer', 'refused']) conditions.raise('NOT_JOINED', '', { reason })
  conditions.raise('NOT_JOINED')
  expect(lines).toMatchObject([{ reason: 'no answer' }, { reason: 'refused' }])
  expect(conditions.list()).toMatchObject([{ count: 4, sinceMs: 1000 }])
})

test('a condition with an end is over when its time is, whoever looks, and begins anew after it', () => {
  const { conditions, lines, passMs } = begin()
  const raise = () => conditions.raise('REGISTRY_SLOW', 'a', {}, { untilMs: 3000 })
  raise()
  conditions.raise('REGISTRY_LATE', 'a', {}, { untilMs: 4000 })
  passMs(1999)
  expect(conditions.count('REGISTRY_SLOW')).toBe(1)
  passMs(1)
  expect(conditions.count('REGISTRY_SLOW')).toBe(0)
  expect(conditions.health().codes).toEqual(['REGISTRY_LATE'])
  passMs(1000)
  conditions.raise('REGISTRY_LATE', 'a')
  expect(conditions.shown()).toMatchObject([{ code: 'REGISTRY_LATE', count: 1 }])
  expect(conditions.shown()[0]).not.toHaveProperty('untilMs')
  expect(lines.map(({ level, code }) => `${level} ${code}`)).toEqual([
    'warn REGISTRY_SLOW',
    'warn REGISTRY_LATE',
    'info REGISTRY_SLOW',
    'info REGISTRY_LATE',
    'warn REGISTRY_LATE',
  ])
})

test('conditions of different subjects are apart, and bounded for each condition', () => {
  const { conditions } = begin()
  conditions.raise('NOT_JOINED')
  for (let at = 0; at <= CONDITION_SUBJECTS_MAX; at += 1) conditions.raise('NO_REGISTRIES', `registry-${at}`)
  const subjects = conditions.list().map(({ subject }) => subject)
  expect(conditions.count('NO_REGISTRIES')).toBe(CONDITION_SUBJECTS_MAX)
  expect(conditions.count('NOT_JOINED')).toBe(1)
  expect(subjects).not.toContain('registry-0')
  conditions.clear('NO_REGISTRIES', 'registry-1')
  expect(conditions.list().map(({ subject }) => subject)).not.toContain('registry-1')
})

test('are shown with their words, counted, and make the node degraded unless they are for information', () => {
  const { conditions } = begin()
  expect(conditions.health()).toEqual({ status: 'ok', codes: [] })
  conditions.raise('NO_REGISTRIES')
  conditions.raise('NOT_JOINED', '', { reason: 'no answer' })
  expect(conditions.health()).toEqual({ status: 'degraded', codes: ['NOT_JOINED', 'NO_REGISTRIES'] })
  expect(conditions.shown()[1]).toMatchObject({
    code: 'NOT_JOINED',
    ...CONDITIONS.NOT_JOINED,
    facts: { reason: 'no answer' },
    since: '1970-01-01T00:00:01.000Z',
  })
  expect(conditions.count('NOT_JOINED')).toBe(1)
  conditions.clear('NOT_JOINED')
  expect(conditions.count('NOT_JOINED')).toBe(0)
})
