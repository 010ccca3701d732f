import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'

/** A whole Debian 12 with a running systemd, in namespaces of its own, without a way out. */
export interface Guest {
  readonly root: string
  /** @returns standard output; throws with all that was said when the command fails */
  run(command: string): string
  /** Asks again and again until the command succeeds. */
  until(command: string): Promise<string>
  powerOff(): Promise<void>
}

const PACKAGES = 'systemd,systemd-sysv,dbus,ca-certificates,iproute2,procps,curl,e2fsprogs,libstdc++6'
const BOOT_MS_MAX = 120_000
const COMMAND_MS_MAX = 120_000
const LOOK_MS = 500

/** A fresh tree, which the caller removes. Debian is fetched once, and kept in the user's cache. */
export function makeTree(mirror: string): string {
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'shoal')
  const kept = join(cache, 'guest-bookworm.tar')
  const root = mkdtempSync(join(tmpdir(), 'shoal-guest-'))
  chmodSync(root, 0o755)
  if (!existsSync(kept)) {
    mkdirSync(cache, { recursive: true })
    const argv = ['--variant=minbase', `--include=${PACKAGES}`, 'bookworm', root, mirror]
    execFileSync('/usr/sbin/debootstrap', argv, { stdio: 'ignore' })
    execFileSync('tar', ['--create', '--one-file-system', '--file', `${kept}.new`, '--directory', root, '.'])
    renameSync(`${kept}.new`, kept)
  } else execFileSync('tar', ['--extract', '--numeric-owner', '--file', kept, '--directory', root])
  return root
}

export async function boot(root: string): Promise<Guest> {
  // This kernel's control groups are of the first version, and its filters are not nested.
  const env = { ...process.env, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: '0', SYSTEMD_SECCOMP: '0' }
  const flags = ['--boot', '--register=no', '--keep-unit', '--private-network', '--capability=all']
  const nspawn = spawn('systemd-nspawn', ['-D', root, ...flags, '--console=pipe'], {
    env,
    stdio: ['ignore', 'ignore', 'ignore'],
  })
  const gone = new Promise<void>((resolve) => nspawn.once('exit', () => resolve()))
  const pid = () =>
    readFileSync(`/proc/${nspawn.pid}/task/${nspawn.pid}/children`, 'utf8').trim().split(' ')[0]
  const enter = (command: string) =>
    spawnSync('nsenter', ['--target', pid()!, '--all', 'sh', '-c', command], {
      encoding: 'utf8',
      timeout: COMMAND_MS_MAX,
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8', DEBIAN_FRONTEND: 'noninteractive' },
    })
  const run = (command: string) => {
    const { status, stdout, stderr } = enter(command)
    if (status !== 0) throw new Error(`${command}: ended with ${status}: ${stdout}${stderr}`)
    return stdout
  }
  const until = async (command: string) => {
    const untilMs = performance.now() + BOOT_MS_MAX
    for (;;) {
      try {
        return run(command)
      } catch (error) {
        if (performance.now() > untilMs) throw error
        await wait(LOOK_MS)
      }
    }
  }
  await until('systemctl is-system-running | grep -E "running|degraded"')
  return {
    ...{ root, run, until },
    async powerOff() {
      enter('systemctl poweroff')
      const late = setTimeout(() => nspawn.kill('SIGKILL'), BOOT_MS_MAX)
      await gone
      clearTimeout(late)
    },
  }
}

/** What a running system writes by itself; the logs of the package manager and of the system. */
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
]
const PICTURE = `
cd "$1"; shift
prune=; for path; do prune="$prune -path ./$path -prune -o"; done
find . $prune -type d -printf '%y %m %U %G %p\\n' -o $prune ! -type d -printf '%y %m %U %G %n %s %l %p\\n' | sort
find . $prune -type f -print0 | sort -z | xargs -0 sha256sum
find . $prune \\( -type f -o -type d \\) -print0 | sort -z | xargs -0 lsattr -d
`

/** Every file and folder with bytes, mode, owner, links and attributes. */
export function pictureOf(root: string): string[] {
  const { stdout } = spawnSync('sh', ['-c', PICTURE, 'sh', root, ...OWN_WORK], {
    encoding: 'utf8',
    maxBuffer: 256 * 1024 * 1024,
  })
  return stdout.split('\n')
}

export function removeTree(root: string): void {
  rmSync(root, { recursive: true, force: true })
}
