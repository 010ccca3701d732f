import { execFile } from 'node:child_process'
import { closeSync, constants, lstatSync, opendirSync, openSync, readFileSync, statfsSync } from 'node:fs'
import { arch, cpus, freemem, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { z } from 'zod'
import { ATTACHED_DIR, CONSENT_FILE } from '../core/attached-files.ts'
import { byteSize } from '../core/byte-size.ts'
import { reasonOf } from '../core/errors.ts'
import { plainJson } from '../core/plain-text.ts'
import { REDACTED, scrubSecrets } from '../core/scrub-secrets.ts'
import { shoalVersion } from '../core/version.ts'
import { callGuard } from '../guard/control.ts'
import type { LocalNode } from './local-node.ts'

/** What a bug report is made of. Each part is text, without secrets, and of bounded length. */

/** Bound of one part, in bytes; of a longer one the end is kept, which is the newest of a log. */
export const PART_BYTES_MAX = 8 * 1024 * 1024
/** Entries of the data folder that are listed. */
export const LISTED_MAX = 2_000
/** Folders inside each other that are listed. */
const LISTED_DEPTH_MAX = 8
/** Lines of the journal. */
const LOG_LINES_MAX = 5_000
/** How long a program may take, and a node. */
const PROGRAM_PATIENCE_MS = 10_000
const UNITS = [
  'shoal.service',
  'shoal-guard.service',
  'shoal-proxy.socket',
  'shoal-mirror.socket',
  'shoal-owners.socket',
  'shoal-owners.service',
]
const RUNTIMES = ['docker', 'containerd', 'podman', 'crio', 'buildctl']

export interface ReportPart {
  name: string
  /** For the list that a person reads before the archive is written. */
  what: string
  text: string
}

export interface ReportSources {
  node: LocalNode
  configFile: string
  dataDir: string
  control: string
}

/** Every part, whatever of it can be had; what cannot says why. */
export async function gatherParts(sources: ReportSources): Promise<ReportPart[]> {
  const { node, configFile, dataDir, control } = sources
  const ask = (path: string) => node.ask(path, z.unknown()).then((answer) => plainJson(answer, 2))
  const askText = async (path: string) => (await node.ask(path, z.object({ text: z.string() }))).text
  const wanted: [string, string, () => string | Promise<string>][] = [
    ['about.txt', 'versions, this machine, disk and limits', () => aboutText(dataDir)],
    ['settings.json', `the node's settings (${configFile})`, () => readFileSync(configFile, 'utf8')],
    ['running.json', 'the settings that the node runs with, and from where', () => ask('/v1/settings')],
    [
      'attached.json',
      'what runtimes were attached to',
      () => readFileSync(join(ATTACHED_DIR, CONSENT_FILE), 'utf8'),
    ],
    [
      'status.json',
      'what the node says: conditions, registries, names of images pulled',
      () => ask('/v1/status'),
    ],
    ['progress.json', 'the blobs that it holds', () => ask('/v1/progress')],
    ['metrics.txt', 'its metrics', () => askText('/v1/metrics')],
    ['guard.json', 'what its guard says', async () => plainJson(await callGuard(control, 'status'), 2)],
    [
      'data-folder.txt',
      'names and sizes of the files in the data folder, not their contents',
      () => listing(dataDir),
    ],
    [
      'units.txt',
      'the state of its units',
      () => run('systemctl', ['status', '--no-pager', '--lines=0', ...UNITS]),
    ],
    ['log.txt', `the last ${LOG_LINES_MAX} lines of its log in the journal`, logText],
    ['node-log.txt', 'what the node logged lately, from its memory', () => askText('/v1/log')],
    ['runtimes.txt', 'versions of the container runtimes', runtimesText],
  ]
  return Promise.all(wanted.map(async ([name, what, text]) => ({ name, what, text: await bounded(text) })))
}

async function bounded(text: () => string | Promise<string>): Promise<string> {
  try {
    const whole = redacted(await text())
    const bytes = Buffer.from(whole)
    return bytes.length <= PART_BYTES_MAX ? whole : bytes.subarray(bytes.length - PART_BYTES_MAX).toString()
  } catch (error) {
    return `not available: ${redacted(reasonOf(error))}\n`
  }
}

/**
 * A member of JSON, a variable or a header whose name says that its value is secret, in one line. Begins where a name begins,
 * so that a long line takes linear time.
 */
const NAMED_SECRET =
  /((?<![\w.-])["']?[\w.-]{0,64}?(?:password|passwd|secret|token|credential|authorization|cookie|api[_-]?key|private[_-]?key|unlock[_-]?key|identitytoken|\bauth)["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*"|'[^']*'|[^\s,;}"']+)/gi

/**
 * `text` without secrets: what looks like one (core/scrub-secrets.ts), and whatever is called one. Numbers, and names of files
 * in settings that end in `File`, stay.
 */
export function redacted(text: string): string {
  return scrubSecrets(text).replace(NAMED_SECRET, (whole, name: string, value: string) => {
    const bare = value.replace(/^["']|["']$/g, '')
    return /^(\d{1,12}|true|false|null)$/.test(bare) ? whole : `${name}"${REDACTED}"`
  })
}

function aboutText(dataDir: string): string {
  const lines = [
    `shoal ${shoalVersion()}, node ${process.version}, ${process.platform} ${arch()}, kernel ${release()}`,
    `report of ${new Date().toISOString()}`,
    `${cpus().length} processors, ${byteSize(totalmem())} of memory, ${byteSize(freemem())} free`,
    diskText(dataDir),
    '',
    textOr('/etc/os-release'),
    textOr('/proc/self/limits'),
  ]
  return `${lines.join('\n')}\n`
}

function diskText(dataDir: string): string {
  try {
    const { bsize, blocks, bavail, files, ffree } = statfsSync(dataDir)
    return `disk of ${dataDir}: ${byteSize(bavail * bsize)} of ${byteSize(blocks * bsize)} free, ${ffree} of ${files} inodes free`
  } catch (error) {
    return `disk of ${dataDir}: ${reasonOf(error)}`
  }
}

function textOr(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    return `${path}: ${reasonOf(error)}`
  }
}

/**
 * What is in the data folder. Root may be asking, and the node's user can put anything there: links are listed, and never
 * followed, neither before nor after they take a folder's place.
 */
export function listing(dataDir: string): string {
  const lines: string[] = []
  const isWhole = listFolder(dataDir, '', LISTED_DEPTH_MAX, lines)
  return `${[...lines, ...(isWhole ? [] : ['and more'])].join('\n')}\n`
}

/** @returns whether everything is listed */
function listFolder(path: string, name: string, depthMax: number, lines: string[]): boolean {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  } catch (error) {
    if (name === '') throw error
    return true
  }
  // By the descriptor: somebody may put a link in the folder's place meanwhile.
  const here = `/proc/self/fd/${fd}`
  const folder = opendirSync(here)
  try {
    for (let entry = folder.readSync(); entry !== null; entry = folder.readSync()) {
      if (lines.length === LISTED_MAX) return false
      const at = join(here, entry.name)
      const inside = join(name, entry.name)
      lines.push(entryText(at, inside))
      if (!entry.isDirectory()) continue
      if (depthMax === 1 || !listFolder(at, inside, depthMax - 1, lines)) return false
    }
    return true
  } finally {
    folder.closeSync()
    closeSync(fd)
  }
}

function entryText(path: string, name: string): string {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return `gone  ${JSON.stringify(name)}`
  const mode = (found.mode & 0o7777).toString(8).padStart(4, '0')
  const kind = found.isDirectory() ? 'd' : found.isFile() ? '-' : found.isSymbolicLink() ? 'l' : '?'
  return `${kind} ${mode} ${found.uid}:${found.gid} ${found.size} ${found.mtime.toISOString()} ${JSON.stringify(name)}`
}

function logText(): Promise<string> {
  const units = UNITS.flatMap((unit) => ['-u', unit])
  return run('journalctl', ['--no-pager', '--output=short-iso', `--lines=${LOG_LINES_MAX}`, ...units])
}

async function runtimesText(): Promise<string> {
  const versions = RUNTIMES.map(async (name) => {
    const text = await run(name, ['--version']).catch(() => undefined)
    return `${name}: ${text?.trim() ?? 'not found'}`
  })
  return `${(await Promise.all(versions)).join('\n')}\n`
}

/** What a program prints, whatever its exit status. @throws Error if it cannot be run */
async function run(program: string, argv: string[]): Promise<string> {
  const limits = { timeout: PROGRAM_PATIENCE_MS, maxBuffer: 2 * PART_BYTES_MAX }
  try {
    return (await promisify(execFile)(program, argv, limits)).stdout
  } catch (error) {
    const { stdout, code } = error as { stdout?: string; code?: unknown }
    if (typeof code === 'number' && stdout) return stdout
    throw error
  }
}
