import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { debianMirror } from './debian-mirror.ts'

/** Debian 12 with systemd and Docker. It is fetched once, and kept in the user's cache. */

const run = (program: string, argv: string[]) =>
  promisify(execFile)(program, argv, { timeout: COMMAND_MS_MAX, maxBuffer: OUTPUT_BYTES_MAX })
const COMMAND_MS_MAX = 10 * 60_000
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024
const PACKAGES =
  'systemd,systemd-sysv,dbus,ca-certificates,iproute2,procps,curl,e2fsprogs,libstdc++6,docker.io,iptables'

/** @param root a folder that does not exist */
export async function makeTree(root: string): Promise<void> {
  const kept = await keptTree()
  mkdirSync(root, { recursive: true, mode: 0o755 })
  await run('tar', ['--extract', '--numeric-owner', '--file', kept, '--directory', root])
}

/** Fetches it where that was not done before. @returns the archive */
export async function keptTree(): Promise<string> {
  const kept = join(cacheFolder(), 'guest-bookworm-docker.tar')
  if (existsSync(kept)) return kept
  mkdirSync(dirname(kept), { recursive: true })
  const work = mkdtempSync(`${kept}.`)
  try {
    const root = join(work, 'root')
    const argv = ['--variant=minbase', `--include=${PACKAGES}`, 'bookworm', root, debianMirror()]
    await run('/usr/sbin/debootstrap', argv)
    const archives = join(root, 'var/cache/apt/archives')
    for (const name of readdirSync(archives).filter((one) => one.endsWith('.deb')))
      rmSync(join(archives, name))
    const tar = join(work, 'tar')
    await run('tar', ['--create', '--one-file-system', '--file', tar, '--directory', root, '.'])
    renameSync(tar, kept)
    return kept
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

export function cacheFolder(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'shoal')
}
