import { execFile, execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { cacheFolder } from './guest-tree.ts'

/** The Debian package of this checkout, for this machine. One of the same content is not built again. */

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const BUILD_MS_MAX = 10 * 60_000
const KEPT_MS = 24 * 3600_000
/** What no package is made of. */
const OUTSIDE = /^(?:test|bench|docs|lab\/guests)\//

/** @returns the file */
export async function shoalPackage(): Promise<string> {
  const folder = join(cacheFolder(), 'packages')
  const kept = join(folder, `${contentSum()}.deb`)
  if (existsSync(kept)) return kept
  mkdirSync(folder, { recursive: true })
  const work = mkdtempSync(join(folder, 'build-'))
  try {
    const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64'
    const flags = ['--arch', architecture, '--deb-only', '--out', work]
    const argv = [join(ROOT, 'bin/launch.js'), 'deploy/package/main.ts', ...flags]
    await promisify(execFile)(process.execPath, argv, { cwd: ROOT, timeout: BUILD_MS_MAX })
    for (const name of readdirSync(folder)) removeIfOld(join(folder, name))
    renameSync(join(work, readdirSync(work).find((name) => name.endsWith('.deb'))!), kept)
    return kept
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** Another run may still copy a younger one. */
function removeIfOld(path: string): void {
  if (Date.now() - statSync(path).mtimeMs > KEPT_MS) rmSync(path, { recursive: true, force: true })
}

function contentSum(): string {
  const argv = ['ls-files', '--cached', '--others', '--exclude-standard', '-z']
  const listed = execFileSync('git', argv, { cwd: ROOT, encoding: 'utf8' })
  const sum = createHash('sha256').update(process.version)
  for (const path of listed.split('\0')) {
    if (path === '' || OUTSIDE.test(path) || !existsSync(join(ROOT, path))) continue
    sum.update(`${path}\0`).update(
      createHash('sha256')
        .update(readFileSync(join(ROOT, path)))
        .digest(),
    )
  }
  return sum.digest('hex').slice(0, 32)
}

/** The same as the next version, to upgrade to. @param out the file that is made */
export function nextPackage(deb: string, out: string): void {
  const tree = `${out}.tree`
  execFileSync('dpkg-deb', ['--raw-extract', deb, tree])
  execFileSync('sed', ['-i', 's/^Version: .*/&+next/', join(tree, 'DEBIAN/control')])
  execFileSync('dpkg-deb', ['--root-owner-group', '-Znone', '--build', tree, out], { stdio: 'ignore' })
  rmSync(tree, { recursive: true })
}
