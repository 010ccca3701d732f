import { execFile, execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ROOT, repositoryFiles } from '../tidy/source-files.ts'

export const TIME_S = 1_790_000_000
/** Of this machine, by Debian's name. */
export const ARCHITECTURE = process.arch === 'arm64' ? 'arm64' : 'amd64'
const BUILD_MS_MAX = 10 * 60_000

export interface Build {
  /** Where the checkout is copied to. */
  checkout: string
  out: string
  umask: string
  timeZone: string
  flags: string[]
  /** Where the build keeps what it fetches; default: this user's caches. */
  cache?: string
  /** In a network namespace without a way out. */
  isOffline?: boolean
}

/** Builds packages from a copy of this checkout, as `npm run package` does. */
export async function buildPackages(build: Build): Promise<void> {
  const { checkout, out, umask, timeZone, flags, cache } = build
  for (const path of repositoryFiles()) cpSync(join(ROOT, path), join(checkout, path))
  symlinkSync(join(ROOT, 'node_modules'), join(checkout, 'node_modules'))
  const argv = [
    ...(build.isOffline ? ['unshare', '--net', '--'] : []),
    process.execPath,
    join(checkout, 'bin/launch.js'),
    'deploy/package/main.ts',
    '--out',
    out,
    ...flags,
  ]
  const caches = cache && { XDG_CACHE_HOME: cache, npm_config_cache: join(cache, 'npm') }
  const env = { ...process.env, ...caches, TZ: timeZone, SOURCE_DATE_EPOCH: String(TIME_S) }
  const limits = { timeout: BUILD_MS_MAX, cwd: checkout, env }
  await promisify(execFile)('sh', ['-c', `umask ${umask} && exec "$@"`, 'sh', ...argv], limits)
}

/** A program that stands in for Node in packages: small, and still Node. */
export function writeNodeStandIn(folder: string): string {
  const path = join(folder, 'node')
  writeFileSync(path, `#!/bin/sh\nexec ${process.execPath} "$@"\n`, { mode: 0o755 })
  return path
}

/** @param strip leading names of each path that are left out */
export function unpack(archive: string, folder: string, strip = 1): string {
  mkdirSync(folder, { recursive: true })
  const places = ['--file', archive, '--directory', folder, `--strip-components=${strip}`]
  execFileSync('tar', ['--extract', ...places])
  return folder
}
