import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { readSmallIfThere } from '../../core/read-if-there.ts'

const folder = mkdtempSync(join(tmpdir(), 'shoal-read-'))
afterAll(() => rmSync(folder, { recursive: true }))
const at = (name: string) => join(folder, name)

test('a small file is read, also behind a link; a pipe, a device, a folder and a long file are not', () => {
  writeFileSync(at('small'), 'text')
  symlinkSync(at('small'), at('link'))
  for (const name of ['small', 'link']) expect(readSmallIfThere(at(name), 4)).toBe('text')
  execFileSync('mkfifo', [at('pipe')])
  symlinkSync('/dev/zero', at('device'))
  for (const name of ['pipe', 'device', 'none', '.']) expect(readSmallIfThere(at(name), 4)).toBeUndefined()
  expect(readSmallIfThere(at('small'), 3)).toBeUndefined()
})
