import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { mustSkipFor } from '../../../lab/machine/requirements.ts'
import { isSkippedFor, SKIPPED_FILE, skippedLines } from '../../../lab/machine/skipped.ts'

const folder = mkdtempSync(join(tmpdir(), 'shoal-skipped-'))
afterEach(() => {
  vi.unstubAllEnvs()
  rmSync(folder, { recursive: true, force: true })
})

const LACKING = 'nonexistent-program' as 'skopeo'
const packages = (...lacks: string[]) => ({ kind: 'Debian packages', lacks, remedy: 'apt-get install {}' })

test('what is skipped is told in one line a kind, with the files and the line that installs all of it', () => {
  const path = join(mkdtempSync(`${folder}-`), 'skipped.jsonl')
  vi.stubEnv('CI', '')
  vi.stubEnv(SKIPPED_FILE, path)
  expect(skippedLines(path)).toEqual([])
  expect(isSkippedFor([])).toBe(false)
  for (const lacks of [['skopeo'], ['podman', 'skopeo']])
    expect(isSkippedFor([packages(...lacks)])).toBe(true)
  expect(isSkippedFor([{ kind: 'root', lacks: [], remedy: 'sudo npm test' }])).toBe(true)
  expect(skippedLines(path)).toEqual([
    'skipped for lack of Debian packages, in 1 files (lab/machine/skipped): apt-get install podman skopeo',
    'skipped for lack of root, in 1 files (lab/machine/skipped): sudo npm test',
  ])
})

test('on continuous integration nothing is skipped, whatever is missing', () => {
  const path = join(mkdtempSync(`${folder}-`), 'skipped.jsonl')
  vi.stubEnv(SKIPPED_FILE, path)
  vi.stubEnv('CI', 'true')
  expect(mustSkipFor([LACKING])).toBe(false)
  expect(skippedLines(path)).toEqual([])
  vi.stubEnv('CI', '')
  expect(mustSkipFor([LACKING])).toBe(true)
})
