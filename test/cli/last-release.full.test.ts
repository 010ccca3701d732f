import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { findEntry } from '../../cli/command-tree.ts'
import { TREE } from '../../cli/tree.ts'
import { previousReleaseCommit, unpackRelease } from '../pull/previous-release.ts'
import { flagsOf } from './flags-of.ts'

/** Each help of the last release costs the start of a program. */

const commit = previousReleaseCommit()

describe.skipIf(commit === undefined)('commands of the release before', () => {
  const folder = mkdtempSync(join(tmpdir(), 'shoal-commands-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  test('are understood, with their flags', async () => {
    const older = unpackRelease(commit!, folder)
    const helpOf = (words: string[]) => {
      const { stdout } = spawnSync(process.execPath, [older, ...words, '--help'], { encoding: 'utf8' })
      return stdout
    }
    const matches = (text: string, line: RegExp) => [...text.matchAll(line)].map(([, found]) => found!)
    /** In help, a command stands in a column of its own. */
    const below = (words: string[]): string[][] =>
      matches(helpOf(words), /^ {2}([a-z][a-z-]*(?: [a-z-]+)?) {2,}\S/gm).map((name) => [
        ...words,
        ...name.split(' '),
      ])
    const programs = below([])
    const all = [...programs, ...programs.flatMap(below)]
    expect(all.length).toBeGreaterThan(10)
    for (const words of all) {
      const found = findEntry(TREE, words)
      expect(found.rest, words.join(' ')).toEqual([])
      const known = [...(await flagsOf(found)), '--help']
      const flags = matches(helpOf(words), /^ {2}(--[a-z0-9-]+)/gm)
      expect(
        flags.filter((flag) => !known.includes(flag)),
        words.join(' '),
      ).toEqual([])
    }
  })
})
