import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, posix } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** Every file that is, or is about to be, in the repository; paths relative to its root. */
export function repositoryFiles(): string[] {
  const listed = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
    cwd: ROOT,
    encoding: 'utf8',
  })
  return listed.split('\n').filter((path) => path !== '' && existsSync(`${ROOT}/${path}`))
}

export function textOf(path: string): string {
  return readFileSync(`${ROOT}/${path}`, 'utf8')
}

export function isSource(path: string): boolean {
  return path.endsWith('.ts')
}

/** A file's folder at the top: `client` of `client/net/x.ts`, '' of `cli/shoal.ts`. */
export function partOf(path: string): string {
  return path.includes('/') ? path.slice(0, path.indexOf('/')) : ''
}

const IMPORT =
  /(?:^|\n)\s*(?:import|export)\s[^'"`;]*?from\s*['"]([^'"]+)['"]|(?:^|[^.\w])import\s*\(?\s*['"]([^'"]+)['"]/g

/** What a source file imports: paths from the root for our own files, names for packages. */
export function importsOf(path: string): string[] {
  return [...textOf(path).matchAll(IMPORT)].map(([, from, bare]) => {
    const specifier = from ?? bare ?? ''
    return specifier.startsWith('.') ? posix.normalize(posix.join(posix.dirname(path), specifier)) : specifier
  })
}
