import { describe, expect, it } from 'vitest'
import { DEFECTS_LOGGED_PER_MINUTE_MAX, Defects, defectCounter, isSystemError } from '../../core/defects.ts'
import { InvalidInputError, type ShoalError } from '../../core/errors.ts'
import { createMetrics } from '../../core/metrics.ts'
import { noteDefects } from './noted-defects.ts'

function bounded() {
  const noted = noteDefects()
  const ends: string[] = []
  const boundary = noted.defects.boundary('peer_link', ({ code }: ShoalError) => void ends.push(code))
  return { ...noted, ends, boundary }
}

const thrown = (error: unknown) => () => {
  throw error
}

describe('a boundary', () => {
  it('ends with an expected error as it is, which is no defect', () => {
    const { boundary, ends, places } = bounded()
    boundary.run(thrown(new InvalidInputError('x')))
    expect([ends, places]).toEqual([['INVALID_INPUT'], []])
  })

  it('ends with DEFECT over anything else that is thrown or rejected, each counted once', async () => {
    const { boundary, ends, places } = bounded()
    const values = [new TypeError('x'), null, undefined, 'text', 7, Object.create(null), Symbol('x')]
    for (const value of values) {
      boundary.run(thrown(value))
      await boundary.run(() => Promise.reject(value))
      boundary.callback(thrown(value))()
    }
    expect(ends).toEqual(Array(3 * values.length).fill('DEFECT'))
    expect(places).toEqual(Array(3 * values.length).fill('peer_link'))
  })

  it('gives the result of what works, and undefined of what fails', async () => {
    const { boundary } = bounded()
    expect(boundary.run(() => 7)).toBe(7)
    expect(await boundary.run(async () => 7)).toBe(7)
    expect(boundary.run(thrown(new Error('x')))).toBeUndefined()
    expect(await boundary.run(() => Promise.reject(new Error('x')))).toBeUndefined()
  })

  it('throws nothing when what ends it fails as well', () => {
    const { defects, places } = noteDefects()
    defects.boundary('swarm', thrown(new Error('another'))).run(thrown(new Error('x')))
    expect(places).toEqual(['swarm', 'swarm'])
  })
})

describe('defects', () => {
  it('are counted and thrown nowhere when the log cannot be written', () => {
    let count = 0
    const defects = new Defects({ log: { error: thrown(new Error('disk full')) }, count: () => void count++ })
    expect(defects.note('process', new Error('x'))).toMatchObject({ code: 'DEFECT' })
    expect(count).toBe(1)
  })

  it('that a stranger repeats are all counted, and do not fill the log', () => {
    const { defects, places, lines } = noteDefects()
    const times = DEFECTS_LOGGED_PER_MINUTE_MAX + 100
    for (let time = 0; time < times; time++) defects.note('peer_link', new Error('x'))
    expect(places).toHaveLength(times)
    // A minute may have begun meanwhile.
    expect(lines.length).toBeLessThanOrEqual(2 * DEFECTS_LOGGED_PER_MINUTE_MAX)
    const before = lines.length
    defects.note('proxy_request', new Error('x'))
    expect(lines).toHaveLength(before + 1)
  })

  it('have one series for each place from the start on', async () => {
    const metrics = createMetrics()
    defectCounter(metrics)('verify_job')
    const text = await metrics.text()
    expect(text).toContain('shoal_defects_total{where="verify_job"} 1')
    expect(text).toContain('shoal_defects_total{where="process"} 0')
  })

  it('are told apart from errors of the operating system', () => {
    const full = Object.assign(new Error('x'), { code: 'ENOSPC', syscall: 'write' })
    expect([full, new TypeError('x'), null].map(isSystemError)).toEqual([true, false, false])
  })
})
