import { execFileSync } from 'node:child_process'

/** What a running system writes by itself, the logs of the package manager and of the system, and Docker's own data. */
const OWN_WORK = [
  'proc',
  'sys',
  'dev',
  'run',
  'tmp',
  'var/tmp',
  'var/log',
  'var/lib/dpkg',
  'var/lib/apt',
  'var/cache/apt',
  'var/lib/docker',
  'var/lib/containerd',
]
const PICTURE = `
cd "$1"; shift
prune=; for path; do prune="$prune -path ./$path -prune -o"; done
find . $prune -type d -printf '%y %m %U %G %p\\n' -o $prune ! -type d -printf '%y %m %U %G %n %s %l %p\\n' | sort
find . $prune -type f -print0 | sort -z | xargs -0 sha256sum
find . $prune \\( -type f -o -type d \\) -print0 | sort -z | xargs -0 lsattr -d
`

/** Every file and folder with bytes, mode, owner, links and attributes; one line each. */
export function pictureOf(root: string): string[] {
  const argv = ['-e', '-c', PICTURE, 'sh', root, ...OWN_WORK]
  return execFileSync('sh', argv, { encoding: 'utf8', maxBuffer: 256 * 1024 * 1024 }).split('\n')
}

export interface Difference {
  added: string[]
  gone: string[]
}

export function differenceOf(before: readonly string[], after: readonly string[]): Difference {
  const [old, now] = [new Set(before), new Set(after)]
  return {
    added: after.filter((line) => !old.has(line)),
    gone: before.filter((line) => !now.has(line)),
  }
}
