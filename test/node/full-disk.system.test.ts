import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { runShoal } from '../cli/run-shoal.ts'

const it = test.skipIf(mustSkipFor(['linux', 'root']))

/** A disk that is really full when a program starts: a small file system of its own, which needs root. */
const SIZE_BYTES = 256 * 1024

let mounted: string
beforeEach(() => {
  mounted = mkdtempSync(join(tmpdir(), 'shoal-full-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SIZE_BYTES},mode=0700`, 'shoal-test', mounted])
  const { bavail, bsize } = statfsSync(mounted)
  writeFileSync(join(mounted, 'filler'), Buffer.alloc(bavail * bsize))
})
afterEach(() => {
  execFileSync('umount', [mounted])
  rmSync(mounted, { recursive: true })
})

it.each([
  [
    'node',
    ['--tracker-url', 'https://127.0.0.1:1', '--docker-certs-dir', 'none', '--proxy-listen', '127.0.0.1:0'],
  ],
  ['up', ['--docker-certs-dir', 'none', '--listen', '127.0.0.1:0', '--proxy-listen', '127.0.0.1:0']],
])(
  'shoal %s on a full disk names the folder and what is needed',
  async (program, flags) => {
    for (const dataDir of [mounted, join(mounted, 'shoal')]) {
      const { code, stderr } = await runShoal([program, ...flags, '--data-dir', dataDir])
      expect(stderr).toContain(`cannot write to the data folder ${dataDir}: the disk is full`)
      expect(stderr).toContain('hint: 0 bytes are free there.')
      expect(stderr).not.toContain('unexpected error')
      expect(code).toBe(1)
    }
  },
  60_000,
)
