import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { debianMirror } from '../lab/guests/debian-mirror.ts'

/** A Debian 12 as `debootstrap` makes it, in a folder of its own. */
export interface FreshDebian {
  /** Its root folder, as seen from outside. */
  root: string
  /** Runs a shell command inside, as root; whatever it leaves running ends with it. */
  run(command: string): Promise<Ended>
  remove(): Promise<void>
}

export interface Ended {
  code: number | null
  stdout: string
  /** Both outputs, in the order in which they came. */
  output: string
}

/** A command that takes longer is killed, with all that it started. */
export const COMMAND_MS_MAX = 600_000
const DEBOOTSTRAP = '/usr/sbin/debootstrap'
const RELEASE = 'bookworm'
const OUTPUT_CHARS_MAX = 1_000_000

/** @param packages names of Debian packages, installed without what they recommend */
export async function makeFreshDebian(packages: string[]): Promise<FreshDebian> {
  const root = mkdtempSync(join(tmpdir(), 'shoal-debian-'))
  const remove = () => rm(root, { recursive: true, force: true })
  const run = (command: string) => runIn(root, command)
  try {
    succeeded(await start([DEBOOTSTRAP, '--variant=minbase', RELEASE, root, debianMirror()], process.env))
    // As in a Debian that boots: others than root go through it.
    chmodSync(root, 0o755)
    // Services would run outside any test's control.
    writeFileSync(join(root, 'usr/sbin/policy-rc.d'), '#!/bin/sh\nexit 101\n', { mode: 0o755 })
    // Nothing here must survive a loss of power: dpkg need not wait for the disk.
    writeFileSync(join(root, 'etc/dpkg/dpkg.cfg.d/unsafe-io'), 'force-unsafe-io\n')
    succeeded(await run(`apt-get install --yes --no-install-recommends ${packages.join(' ')}`))
  } catch (error) {
    await remove()
    throw error
  }
  return { root, run, remove }
}

/**
 * Everything below is in a mount namespace and a process namespace of its own, which end with the command. The root is a
 * mount: programs that change how mounts spread need one. Arguments: root, command, files to show below /mnt.
 */
const ENTER = `
set -e
root=$1 command=$2
shift 2
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
for file in /etc/resolv.conf /etc/hosts; do
  touch "$root$file"
  mount --bind "$file" "$root$file"
done
while [ $# -gt 0 ]; do
  touch "$root/mnt/$1"
  mount --bind "$2" "$root/mnt/$1"
  shift 2
done
exec chroot "$root" sh -c "$command"
`

function runIn(root: string, command: string): Promise<Ended> {
  const { variables, files } = npmSettings()
  const env = {
    PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: '/root',
    LANG: 'C.UTF-8',
    DEBIAN_FRONTEND: 'noninteractive',
    ...variables,
    ...Object.fromEntries(Object.keys(files).map((name) => [name, `/mnt/${name}`])),
  }
  const enter = ['unshare', '--mount', '--pid', '--fork', '--kill-child', 'sh', '-c', ENTER, 'sh']
  return start([...enter, root, command, ...Object.entries(files).flat()], env)
}

/**
 * What npm needs to reach the registry that this machine uses, as environment variables: values, and files, which are
 * mounted and never copied.
 */
function npmSettings(): { variables: Record<string, string>; files: Record<string, string> } {
  const settings = JSON.parse(execFileSync('npm', ['config', 'ls', '--long', '--json'], { encoding: 'utf8' }))
  const values = ['registry', 'proxy', 'https-proxy', 'noproxy'].map((name) => [
    variableOf(name),
    settings[name],
  ])
  const paths = ['cafile', 'userconfig', 'globalconfig'].map((name) => [variableOf(name), settings[name]])
  paths.push(['NODE_EXTRA_CA_CERTS', process.env.NODE_EXTRA_CA_CERTS])
  return {
    variables: Object.fromEntries(
      values.filter(([, value]) => value).map(([name, value]) => [name, String(value)]),
    ),
    files: Object.fromEntries(paths.filter(([, path]) => path && existsSync(path))),
  }
}

function variableOf(setting: string): string {
  return `npm_config_${setting.replaceAll('-', '_')}`
}

function start([program, ...argv]: string[], env: NodeJS.ProcessEnv): Promise<Ended> {
  const limit = { timeout: COMMAND_MS_MAX, killSignal: 'SIGKILL' } as const
  const child = spawn(program!, argv, { env, stdio: ['ignore', 'pipe', 'pipe'], ...limit })
  let stdout = ''
  let output = ''
  const keep = (text: string) => {
    output = (output + text).slice(-OUTPUT_CHARS_MAX)
  }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout = (stdout + text).slice(-OUTPUT_CHARS_MAX)
    keep(text)
  })
  child.stderr.setEncoding('utf8').on('data', keep)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, stdout, output }))
  })
}

function succeeded({ code, output }: Ended): void {
  if (code !== 0) throw new Error(`ended with ${code}:\n${output.slice(-4000)}`)
}
