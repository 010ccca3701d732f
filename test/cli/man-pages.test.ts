import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { exitsOf, placedIn } from '../../cli/command-tree.ts'
import { manPages } from '../../cli/man-pages.ts'
import { TREE } from '../../cli/tree.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { flagsOf } from './flags-of.ts'

const folder = mkdtempSync(join(tmpdir(), 'shoal-man-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const pages = await manPages(TREE, { version: '1.2.3', timeS: 0 })
const files = pages.map(({ file, text }) => {
  const path = join(folder, file)
  writeFileSync(path, text)
  return path
})
const env = { PATH: process.env.PATH, LC_ALL: 'C.UTF-8', MANROFFSEQ: '', MANWIDTH: '80' }

/** A page as a person reads it, in lines without overprinting. */
function read(path: string): string {
  const { stdout } = spawnSync('groff', ['-man', '-Tutf8', '-P-c', '-rLL=78n', path], { encoding: 'utf8' })
  return stdout.replaceAll(/.[\b]/g, '')
}

describe('man pages', () => {
  it('are there for every command, and name all that its help names', async () => {
    const names = placedIn(TREE).map(({ path }) => `${path.join('-')}.1`)
    expect(pages.map(({ file }) => file)).toEqual(names)
    for (const [index, placed] of placedIn(TREE).entries()) {
      const { text } = pages[index]!
      for (const flag of await flagsOf(placed))
        expect(text).toContain(`\\fB${flag.replaceAll('-', '\\-')}\\fR`)
      for (const { code } of exitsOf(placed.entry)) expect(text).toContain(`.TP\n${code}\n`)
      expect(text.match(/^\.SH .*$/gm)).toEqual(
        expect.arrayContaining(['.SH "NAME"', '.SH "SYNOPSIS"', '.SH "EXIT STATUS"', '.SH "EXAMPLES"']),
      )
    }
  })

  it('are the same in every encoding', () => {
    for (const { text } of pages) expect(text).toMatch(/^[\x20-\x7e\n]*$/)
  })

  it.skipIf(mustSkipFor(['man']))('are read by man without a warning', () => {
    const argv = ['--warnings', '-E', 'UTF-8', '-l', '-Tutf8', '-Z', ...files]
    expect(spawnSync('man', argv, { env, encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' })
  })

  it.skipIf(mustSkipFor(['groff']))('are read by groff without a warning, and show what was meant', () => {
    const argv = ['-man', '-Tutf8', '-ww', '-z', ...files]
    expect(spawnSync('groff', argv, { encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' })
    const page = read(join(folder, 'shoal-admin-token-create.1'))
    expect(page).toContain('shoal admin token create --quiet | ssh node1 shoal join -')
    expect(page).toContain('shoal-admin-token-create - Makes a join string')
    const width = Math.max(...page.split('\n').map((line) => line.length))
    expect(width).toBeLessThanOrEqual(80)
  })

  it.skipIf(mustSkipFor(['mandoc']))('are read by mandoc without an error', () => {
    const { status, stdout } = spawnSync('mandoc', ['-T', 'lint', '-W', 'warning', ...files], {
      encoding: 'utf8',
    })
    expect([status, stdout]).toEqual([0, ''])
  })
})
