import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'

const POSTINST = fileURLToPath(new URL('../../deploy/debian/postinst', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'shoal-postinst-'))
afterEach(() => rmSync(folder, { recursive: true }))

test('the package takes no group that somebody else made: its members would get the local API', () => {
  const made = join(folder, 'made')
  const program = (name: string, text: string) =>
    writeFileSync(join(folder, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 })
  program('getent', '[ "$1" = group ] && echo shoal:x:1234:eve')
  // Whatever else it would do to this machine ends here.
  for (const name of ['mktemp', 'cp', 'systemd-sysusers']) program(name, `touch ${made}; exit 9`)
  const { status, stderr } = spawnSync('/bin/sh', [POSTINST, 'configure'], {
    env: { PATH: `${folder}:/usr/bin:/bin` },
    encoding: 'utf8',
  })
  expect([status, existsSync(made)]).toEqual([1, false])
  expect(stderr).toContain('group named shoal')
})
