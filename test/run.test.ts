import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'

/** `npm test`, with a test file of its own: where vitest finds it, and git and the tidy tests do not look. */

const PROGRAM = fileURLToPath(new URL('run.ts', import.meta.url))
const NAME = `skips-${process.pid}`
const folder = join(import.meta.dirname, '../coverage/test')
const file = join(folder, `${NAME}.test.ts`)

beforeAll(() => {
  const missing = `mustSkipFor(['nonexistent-program' as 'skopeo', 'linux'])`
  const text = `import { expect, test } from 'vitest'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
const isSkipped = !process.env.CI && ${missing}
test('one that runs', () => expect(1).toBe(1))
test.skipIf(isSkipped || process.env.SKIPS_ANYWAY)('one that is skipped', () => expect(1).toBe(1))
`
  mkdirSync(folder, { recursive: true })
  writeFileSync(file, text)
})
afterAll(() => rmSync(file, { force: true }))

function run(env: Record<string, string>) {
  const { CI: _ci, ...rest } = process.env
  const argv = [PROGRAM, '--project', 'fast', `coverage/test/${NAME}.test.ts`]
  return spawnSync(process.execPath, argv, { encoding: 'utf8', env: { ...rest, ...env } })
}

test('what was skipped, and how to get it, is said once before the totals; the run passes', () => {
  const { status, stdout } = run({})
  const lines = stdout.trim().split('\n').slice(-2)
  expect(lines[0]).toMatch(
    new RegExp(`^skipped for lack of Debian packages, in 1 files \\(${NAME}\\): sudo apt-get`),
  )
  expect(lines[1]).toBe('1 passed, 0 failed, 1 skipped')
  expect(status).toBe(0)
})

test('on continuous integration a test that is skipped is one that failed, and is named', () => {
  expect(run({ CI: 'true' })).toMatchObject({ status: 0 })
  const { status, stdout } = run({ CI: 'true', SKIPS_ANYWAY: 'yes' })
  expect(stdout).toContain('skipped, which counts as failed here: one that is skipped')
  expect(stdout).toMatch(/\n1 passed, 1 failed, 1 skipped\n$/)
  expect(status).toBe(1)
})
