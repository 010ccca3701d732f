import { describe, expect, it } from 'vitest'
import { nearestName } from '../../core/nearest-name.ts'

describe('the nearest name', () => {
  const names = ['listenPort', 'logLevel', 'dataDir', '--data-dir', '--join-token-file']

  it.each([
    ['listnPort', 'listenPort'],
    ['LISTENPORT', 'listenPort'],
    ['dataDri', 'dataDir'],
    ['--datadir', '--data-dir'],
    ['--join-token', '--join-token-file'],
    ['--join', '--join-token-file'],
  ])('to %s is %s', (name, nearest) => {
    expect(nearestName(name, names)).toBe(nearest)
  })

  it.each(['', 'x', 'verbose', '--', 'x'.repeat(10_000)])('to %s is none', (name) => {
    expect(nearestName(name, names)).toBeUndefined()
  })

  it('is none where there are no names', () => {
    expect(nearestName('x', [])).toBeUndefined()
  })
})
