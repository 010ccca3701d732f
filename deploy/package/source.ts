import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { PackageError } from './errors.ts'

/** What is packed: this checkout, its lock file and its time. */

export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** A package in the lock file. */
export interface Locked {
  version: string
  /** Subresource integrity of its archive. */
  integrity: string
  license?: string
  dependencies?: Record<string, string>
}

/** By path: `node_modules/a/node_modules/b`. */
export type Lock = Record<string, Locked>

export function readLock(): Lock {
  const { packages } = JSON.parse(sourceText('package-lock.json')) as { packages: Lock }
  return packages
}

export function sourceText(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

/**
 * `SOURCE_DATE_EPOCH` (reproducible-builds.org), or when the commit was made, in seconds of Unix time.
 * @throws PackageError
 */
export function sourceTimeS(env: NodeJS.ProcessEnv): number {
  const text = env.SOURCE_DATE_EPOCH || timeOfCommit()
  if (/^\d{1,11}$/.test(text)) return Number(text)
  throw new PackageError(`SOURCE_DATE_EPOCH is not a number of seconds: ${text.slice(0, 40)}`)
}

function timeOfCommit(): string {
  try {
    return execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: ROOT, encoding: 'utf8' }).trim()
  } catch (cause) {
    throw new PackageError('this is not a git checkout, so the time of the commit is not known', {
      cause,
      hint: 'Set SOURCE_DATE_EPOCH to the time of the release, in seconds since 1970.',
    })
  }
}
