import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { LabRequirementError } from '../errors.ts'
import { isSkippedFor, type Skipped } from './skipped.ts'

/** Possible needs of a lab, by the name of the program, with the Debian package that contains it. */
const PACKAGES = {
  dockerd: 'docker.io',
  docker: 'docker.io',
  'docker-registry': 'docker-registry',
  skopeo: 'skopeo',
  podman: 'podman',
  containerd: 'containerd',
  ctr: 'containerd',
  ip: 'iproute2',
  tc: 'iproute2',
  nsenter: 'util-linux',
  unshare: 'util-linux',
  setpriv: 'util-linux',
  faketime: 'faketime',
  nmap: 'nmap',
  curl: 'curl',
  openssl: 'openssl',
  iptables: 'iptables',
  perl: 'perl',
  'systemd-nspawn': 'systemd-container',
  debootstrap: 'debootstrap',
  'qemu-aarch64-static': 'qemu-user-static',
  git: 'git',
  'dpkg-deb': 'dpkg',
  zsh: 'zsh',
  fish: 'fish',
  man: 'man-db',
  groff: 'groff-base',
  mandoc: 'mandoc',
  script: 'bsdutils',
  'rsvg-convert': 'librsvg2-bin',
  /** A module of the system's Python, not a program. */
  'python3-libtorrent': 'python3-libtorrent',
} as const

export type LabProgram = keyof typeof PACKAGES
/** A program, `root`, or `linux`. */
export type LabRequirement = LabProgram | 'root' | 'linux'

/** The needs of every lab: namespaces, and a registry with a client that pushes to it. */
export const LAB_BASE: readonly LabRequirement[] = [
  'linux',
  'root',
  ...(['ip', 'nsenter', 'unshare', 'setpriv', 'docker-registry', 'skopeo'] as const),
]

/** Debian's own Python, which has Debian's modules; the PATH may begin with another. */
export const SYSTEM_PYTHON = '/usr/bin/python3'

/** Debian keeps daemons where the PATH of a plain login may not reach. */
export const LAB_PATH = [process.env.PATH ?? '', '/usr/local/sbin', '/usr/sbin', '/sbin'].join(delimiter)

/** The parts of `wanted` that this machine or this user lacks. */
export function missingParts(wanted: readonly LabRequirement[]): LabRequirement[] {
  return [...new Set(wanted)].filter((part) => !isPresent(part))
}

/** For tests that need real parts: true when they must be skipped. On continuous integration none is. */
export function mustSkipFor(wanted: readonly LabRequirement[]): boolean {
  const missing = missingParts(wanted)
  const packages = packagesOf(missing)
  const kinds: Skipped[] = []
  if (missing.includes('linux')) kinds.push({ kind: 'a Linux kernel', lacks: [], remedy: NEEDS_LINUX })
  if (packages.length > 0)
    kinds.push({ kind: 'Debian packages', lacks: packages, remedy: 'sudo apt-get install -y {}' })
  if (missing.includes('root')) kinds.push({ kind: 'root', lacks: [], remedy: 'sudo npm test' })
  return isSkippedFor(kinds)
}

/**
 * @param again the command that lacks them, as a person gives it
 * @throws LabRequirementError with the missing parts and the commands to get them
 */
export function requireParts(wanted: readonly LabRequirement[], again?: string): void {
  const missing = missingParts(wanted)
  if (missing.length === 0) return
  throw new LabRequirementError(lackOf(missing), { hint: howToGet(missing, again) })
}

export function lackOf(missing: readonly LabRequirement[]): string {
  return `this machine lacks: ${missing.map(describePart).join(', ')}`
}

function describePart(part: LabRequirement): string {
  if (part === 'root') return 'the rights of root'
  return part === 'linux' ? 'a Linux kernel' : part
}

const NEEDS_LINUX = 'The lab uses network namespaces: run it on Linux, for example in a virtual machine.'

function packagesOf(missing: readonly LabRequirement[]): string[] {
  const programs = missing.filter((part) => part !== 'root' && part !== 'linux')
  return [...new Set(programs.map((program) => PACKAGES[program]))]
}

export function howToGet(missing: readonly LabRequirement[], again?: string): string {
  if (missing.includes('linux')) return NEEDS_LINUX
  const packages = packagesOf(missing)
  const steps = []
  if (packages.length > 0) steps.push(`on Debian or Ubuntu: sudo apt-get install -y ${packages.join(' ')}`)
  if (missing.includes('root')) steps.push(`run it as root${again === undefined ? '' : `: sudo ${again}`}`)
  else if (again !== undefined) steps.push(`run it again: ${again}`)
  const hint = steps.join('; then ')
  return `${hint.charAt(0).toUpperCase()}${hint.slice(1)}`
}

/** Programs by name, each with the version of the Debian package that it is of, where the machine knows packages. */
export function versionedPackages(programs: LabProgram[]): Record<string, string> {
  const packages = [...new Set(programs.map((program) => PACKAGES[program]))]
  const { stdout } = spawnSync('dpkg-query', ['--show', ...packages], { encoding: 'utf8' })
  const lines = (stdout ?? '').split('\n').map((line) => line.split('\t'))
  const named = programs.map((program) => {
    const [name, version] = lines.find(([known]) => known === PACKAGES[program]) ?? []
    return [program, name === undefined ? program : `${program} (package ${name} ${version})`]
  })
  return Object.fromEntries(named)
}

function isPresent(part: LabRequirement): boolean {
  if (part === 'linux') return process.platform === 'linux'
  if (part === 'root') return process.getuid?.() === 0
  if (part === 'python3-libtorrent') {
    return spawnSync(SYSTEM_PYTHON, ['-c', 'import libtorrent'], { stdio: 'ignore' }).status === 0
  }
  return LAB_PATH.split(delimiter).some((folder) => folder !== '' && isExecutable(join(folder, part)))
}

function isExecutable(path: string): boolean {
  if (!existsSync(path)) return false
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
