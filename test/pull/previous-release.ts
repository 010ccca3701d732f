import { spawnSync } from 'node:child_process'
import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const PACKAGE = fileURLToPath(new URL('../..', import.meta.url))
const ARCHIVE_BYTES_MAX = 256 * 2 ** 20

/** The commit that named the version before; SHOAL_PREVIOUS_COMMIT names another one. Undefined without git's history. */
export function previousReleaseCommit(): string | undefined {
  const named = process.env.SHOAL_PREVIOUS_COMMIT
  if (named) return named
  const found = git(['log', '-1', '--format=%H', '-G^  "version":', '--', 'package.json'])
  return found?.toString().trim() || undefined
}

/** Writes the program of that commit into the folder. @returns its `bin/shoal.js` */
export function unpackRelease(commit: string, folder: string): string {
  mkdirSync(folder, { recursive: true })
  const archive = git(['archive', '--format=tar', commit])
  const { status } = spawnSync('tar', ['-x', '-C', folder], { input: archive })
  if (archive === undefined || status !== 0) throw new Error(`commit ${commit} cannot be unpacked`)
  symlinkSync(join(PACKAGE, 'node_modules'), join(folder, 'node_modules'))
  return join(folder, 'bin', 'shoal.js')
}

function git(argv: string[]): Buffer | undefined {
  const { status, stdout } = spawnSync('git', ['-C', PACKAGE, ...argv], { maxBuffer: ARCHIVE_BYTES_MAX })
  return status === 0 ? stdout : undefined
}
