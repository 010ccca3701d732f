import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { debianMirror } from './debian-mirror.ts'

/** Debian 12 with systemd and Docker. It is fetched once, and kept in the user's cache. */

const PACKAGES =
  'systemd,systemd-sysv,dbus,ca-certificates,iproute2,procps,curl,e2fsprogs,libstdc++6,docker.io,iptables'

/** @param root a folder that does not exist */
export function makeTree(root: string): void {
  const kept = join(cacheFolder(), 'guest-bookworm-docker.tar')
  if (!existsSync(kept)) fetchTree(kept)
  mkdirSync(root, { recursive: true, mode: 0o755 })
  execFileSync('tar', ['--extract', '--numeric-owner', '--file', kept, '--directory', root])
}

export function cacheFolder(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'shoal')
}

function fetchTree(kept: string): void {
  mkdirSync(dirname(kept), { recursive: true })
  const work = mkdtempSync(`${kept}.`)
  try {
    const root = join(work, 'root')
    const argv = ['--variant=minbase', `--include=${PACKAGES}`, 'bookworm', root, debianMirror()]
    execFileSync('/usr/sbin/debootstrap', argv, { stdio: 'ignore' })
    rmSync(join(root, 'var/cache/apt/archives'), { recursive: true })
    mkdirSync(join(root, 'var/cache/apt/archives/partial'), { recursive: true })
    const tar = join(work, 'tar')
    execFileSync('tar', ['--create', '--one-file-system', '--file', tar, '--directory', root, '.'])
    renameSync(tar, kept)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}
