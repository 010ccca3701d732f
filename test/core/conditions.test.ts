import { expect, test } from 'vitest'
import { CONDITIONS, CONDITIONS_MAX, Conditions } from '../../core/conditions.ts'
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

test('conditions of different subjects are apart, and bounded', () => {
  const { conditions } = begin()
  for (let at = 0; at <= CONDITIONS_MAX; at += 1) conditions.raise('NO_REGISTRIES', `registry-${at}`)
  const subjects = conditions.list().map(({ subject }) => subject)
  expect(subjects).toHaveLength(CONDITIONS_MAX)
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
