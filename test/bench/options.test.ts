import { describe, expect, it } from 'vitest'
import { parseBenchOptions } from '../../bench/engine/options.ts'
import { UsageError } from '../../core/errors.ts'

describe('the flags of bench:engine', () => {
  it('measure every system at one, four and eight downloaders when there are none', () => {
    const options = parseBenchOptions([])
    expect(options.systems).toEqual(['shoal', 'libtorrent-ssl', 'libtorrent-plain', 'webtorrent', 'aria2'])
    expect(options.downloaders).toEqual([1, 4, 8])
    expect(options.downloaders.map(options.mibFor)).toEqual([1024, 512, 512])
    expect(options.budgetSeconds).toBeLessThan(600)
  })

  it('make it quick: two systems, one downloader, less than a minute', () => {
    const options = parseBenchOptions(['--quick'])
    expect(options).toMatchObject({ isQuick: true, systems: ['shoal', 'libtorrent-ssl'], downloaders: [1] })
    expect(options.budgetSeconds).toBeLessThan(60)
  })

  it('choose systems, counts and size', () => {
    const options = parseBenchOptions(['--systems', 'aria2,shoal', '--downloaders', '8,2', '--mib', '64'])
    expect(options).toMatchObject({ systems: ['aria2', 'shoal'], downloaders: [2, 8] })
    expect(options.mibFor(8)).toBe(64)
  })

  it.each([
    ['an unknown flag', ['--fast']],
    ['an unknown system', ['--systems', 'shoal,kraken']],
    ['no downloader', ['--downloaders', '0']],
    ['too many downloaders', ['--downloaders', '33']],
    ['half a MiB', ['--mib', '0.5']],
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
