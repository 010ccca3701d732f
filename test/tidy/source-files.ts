import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** Every file that is, or is about to be, in the repository; paths relative to its root. */
export function repositoryFiles(): string[] {
  const argv = ['ls-files', '--cached', '--others', '--exclude-standard']
  const { status, stdout } = spawnSync('git', argv, { cwd: ROOT, encoding: 'utf8' })
  const listed = status === 0 ? stdout.split('\n') : filesBelow('')
  return listed.filter((path) => path !== '' && existsSync(`${ROOT}/${path}`))
}

/** Without git, or in a copy that it does not know. */
function filesBelow(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true })
    .filter(({ name }) => !NOT_OURS.has(name))
    .flatMap((entry) => {
      const path = join(folder, entry.name)
      return entry.isDirectory() ? filesBelow(path) : [path]
    })
}

/** As .gitignore has it. */
const NOT_OURS = new Set(['.git', 'node_modules', 'dist', 'coverage'])

export function textOf(path: string): string {
  return readFileSync(`${ROOT}/${path}`, 'utf8')
}

export function isSource(path: string): boolean {
  return path.endsWith('.ts')
}

/** A file's folder at the top: `client` of `client/wire/x.ts`, '' of `vitest.config.ts`. */
export function partOf(path: string): string {
  return path.includes('/') ? path.slice(0, path.indexOf('/')) : ''
}

const IMPORT =
  /(?:^|\n)\s*(?:import|export)\s([^'"`;]*?)from\s*['"]([^'"]+)['"]|(?:^|[^.\w])import\s*\(?\s*['"]([^'"]+)['"]/g

export interface Import {
  from: string
  /** A path from the root for our own files, a name for packages. */
  to: string
  /** Erased before anything runs. */
  isType: boolean
}

export function importsOf(from: string, text = textOf(from)): Import[] {
  return [...text.matchAll(IMPORT)].map(([, clause = '', named, bare]) => {
    const specifier = named ?? bare ?? ''
    const isOwn = specifier.startsWith('.')
    const to = isOwn ? posix.normalize(posix.join(posix.dirname(from), specifier)) : specifier
    return { from, to, isType: clause.trimStart().startsWith('type ') }
  })
}

/** Circles of files that import each other, each with a way around. */
export function circles(imports: Pick<Import, 'from' | 'to'>[]): string[] {
  const next = Map.groupBy(imports, ({ from }) => from)
  const done = new Set<string>()
  const found: string[] = []
  const visit = (path: string, trail: string[]) => {
    if (trail.includes(path)) found.push([...trail.slice(trail.indexOf(path)), path].join(' → '))
    else if (!done.has(path)) for (const { to } of next.get(path) ?? []) visit(to, [...trail, path])
    done.add(path)
  }
  for (const path of next.keys()) visit(path, [])
  return found
}
