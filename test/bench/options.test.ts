import { describe, expect, it } from 'vitest'
import { parseBenchOptions } from '../../bench/engine/options.ts'
import { UsageError } from '../../core/errors.ts'

describe('the flags of bench:engine', () => {
  it('measure every system at one, four and eight downloaders when there are none', () => {
    const options = parseBenchOptions([])
    const others = ['pump', 'libtorrent-ssl', 'libtorrent-plain', 'webtorrent', 'aria2']
    expect(options.systems).toEqual(['shoal', ...others])
    expect(options.states).toEqual(['fresh', 'warm', 'cold'])
    expect(options.downloaders).toEqual([1, 4, 8])
    expect(options).toMatchObject({ mibs: [256], roundsMax: 3, budgetSeconds: 3600 })
  })

  it('make it quick: three systems, one downloader, less than a minute', () => {
    const options = parseBenchOptions(['--quick'])
    const systems = ['shoal', 'pump', 'libtorrent-ssl']
    expect(options).toMatchObject({ isQuick: true, systems, downloaders: [1] })
    expect(options.budgetSeconds).toBeLessThan(60)
  })

  it('choose systems, counts, sizes and time', () => {
    const options = parseBenchOptions([
      ...['--systems', 'aria2,shoal', '--downloaders', '8,2', '--mib', '1024,64,64'],
      ...['--rounds', '5', '--minutes', '90'],
    ])
    expect(options).toMatchObject({ systems: ['aria2', 'shoal'], downloaders: [2, 8], mibs: [64, 1024] })
    expect(options).toMatchObject({ roundsMax: 5, budgetSeconds: 5400 })
  })

  it('choose states, which are run in their own order', () => {
    expect(parseBenchOptions(['--states', 'cold,fresh']).states).toEqual(['fresh', 'cold'])
  })

  it.each([
    ['an unknown flag', ['--fast']],
    ['an unknown system', ['--systems', 'shoal,kraken']],
    ['an unknown state', ['--states', 'lukewarm']],
    ['no downloader', ['--downloaders', '0']],
    ['too many downloaders', ['--downloaders', '33']],
    ['half a MiB', ['--mib', '0.5']],
    ['no minutes', ['--minutes', '0']],
    ['a stray word', ['quick']],
  ])('are refused with %s, and a hint', (_, argv) => {
    const error = (() => {
      try {
        return parseBenchOptions(argv)
      } catch (thrown) {
        return thrown
      }
    })()
    expect(error).toBeInstanceOf(UsageError)
    expect(error).toMatchObject({ code: 'USAGE', hint: expect.stringContaining('--help') })
  })
})
