import { expect, it } from 'vitest'
import { CONDITION_CODES } from '../../core/conditions.ts'
import { PULL_REASONS, reasonWords } from '../../core/pull-reasons.ts'
import { PASS_REASONS } from '../../proxy/layer-account.ts'
import { FALLBACK_CODES } from '../../proxy/metrics.ts'

const UNKNOWN = reasonWords('SOMETHING_ELSE').text

it('every reason that the proxy notes has words, once', () => {
  const noted = [
    ...Object.values(PASS_REASONS),
    ...FALLBACK_CODES.filter((code) => code !== 'other'),
    'UNEXPECTED',
  ]
  for (const code of noted) expect(reasonWords(code).text, code).not.toBe(UNKNOWN)
  expect(Object.keys(PULL_REASONS).filter((code) => CONDITION_CODES.includes(code as never))).toEqual([])
  expect(Object.keys(PULL_REASONS)).toEqual(Object.keys(PULL_REASONS).sort())
})

it('an answer’s status, a code that nobody knows and a name of every object are no row of the table', () => {
  expect(reasonWords('HTTP_404').text).toContain('404')
  for (const code of ['HTTP_4040', 'constructor', '__proto__', ''])
    expect(reasonWords(code).text).toBe(UNKNOWN)
})
