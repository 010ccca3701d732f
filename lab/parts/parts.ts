import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { LabRequirementError } from '../errors.ts'
import { isSkippedFor } from '../machine/skipped.ts'
import { AptRoot } from './apt-root.ts'
import { COMMON_PACKAGES, SUITES, type Suite } from './suites.ts'

/**
 * Programs of a newer Debian, unpacked into the user's cache. Nothing is installed: where one runs, its tree is mounted
 * over /usr in a mount namespace of its own, so that it finds its own loader and libraries.
 */
export interface Parts {
  readonly suite: Suite
  /** Of a pinned package, without Debian's revision; undefined where the suite no longer has it. */
  versionOf(name: string): string | undefined
  /** The command line that runs `argv` from the tree. It must be run in a mount namespace of its own, as hosts have. */
  command(argv: string[]): string[]
}

const run = promisify(execFile)
const VERSIONS_FILE = 'versions.json'
const UNPACK_MS_MAX = 60_000
const MOUNT_AND_RUN = 'mount -o bind,ro "$1" /usr && shift 2 && exec "$@"'

/** `$SHOAL_PARTS`, or in the user's cache. */
export function partsFolder(): string {
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
  return process.env.SHOAL_PARTS || join(cache, 'shoal', 'parts')
}

/** @returns undefined where they were not fetched, or not those of this version of the lab */
export function fetchedParts(suite: Suite): Parts | undefined {
  const tree = treeOf(suite)
  if (!existsSync(tree)) return undefined
  const versions = JSON.parse(readFileSync(join(tree, VERSIONS_FILE), 'utf8')) as Record<string, string>
  return {
    suite,
    versionOf: (name) => (versions[name] === undefined ? undefined : upstreamVersion(versions[name])),
    command: (argv) => ['sh', '-c', MOUNT_AND_RUN, 'sh', join(tree, 'usr'), '--', ...argv],
  }
}

/** For tests: true when these parts are not there and the tests must be skipped. On continuous integration none is. */
export function mustSkipForParts(suite: Suite): boolean {
  if (fetchedParts(suite) !== undefined) return false
  return isSkippedFor([{ kind: `runtimes of ${suite}`, lacks: [], remedy: `npm run parts -- ${suite}` }])
}

/** @throws LabRequirementError where they were not fetched */
export function requireFetched(suite: Suite): Parts {
  const parts = fetchedParts(suite)
  if (parts !== undefined) return parts
  throw new LabRequirementError(`the runtimes of ${suite} are not here`, {
    hint: `npm run parts -- ${suite}`,
  })
}

/**
 * Downloads and unpacks what is not there yet.
 * @param say receives a line for every step, and for every package that has vanished
 * @throws LabRequirementError where they cannot be had
 */
export async function fetchParts(suite: Suite, say: (line: string) => void): Promise<Parts> {
  const known = fetchedParts(suite)
  if (known !== undefined) return known
  const dir = join(partsFolder(), `${suite}-${process.pid}`)
  const draft = join(dir, 'tree')
  mkdirSync(draft, { recursive: true, mode: 0o700 })
  try {
    say(`${suite}: reading the lists of packages`)
    const apt = await AptRoot.make(join(dir, 'apt'), suite)
    await apt.update()
    const versions = await versionsIn(apt, suite, say)
    const wanted = Object.entries(versions).map(([name, version]) => `${name}=${version}`)
    say(`${suite}: downloading`)
    const archives = await apt.download([...wanted, ...COMMON_PACKAGES])
    say(`${suite}: unpacking ${archives.length} packages`)
    for (const archive of archives) await run('dpkg', ['-x', archive, draft], { timeout: UNPACK_MS_MAX })
    writeFileSync(join(draft, VERSIONS_FILE), JSON.stringify(versions))
    // Another process may have been as fast: its tree is the same.
    if (!existsSync(treeOf(suite))) renameSync(draft, treeOf(suite))
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
  const parts = fetchedParts(suite)
  if (parts === undefined) throw new LabRequirementError(`the parts of ${suite} could not be kept`)
  return parts
}

/** The exact version of every pinned package that the suite still has. */
async function versionsIn(
  apt: AptRoot,
  suite: Suite,
  say: (line: string) => void,
): Promise<Record<string, string>> {
  const versions: Record<string, string> = {}
  for (const [name, pin] of Object.entries(SUITES[suite].pinned)) {
    const available = await apt.versionsOf(name)
    const found = available.find((version) => isPinned(version, pin))
    if (found !== undefined) versions[name] = found
    else say(`${suite} has ${name} ${available.join(', ') || 'no more'}: ${pin} is wanted`)
  }
  return versions
}

function isPinned(version: string, pin: string): boolean {
  return withoutEpoch(version).startsWith(pin.slice(0, -1))
}

const withoutEpoch = (version: string) => version.replace(/^\d+:/, '')

/** `26.1.5+dfsg1-9+b11` is Docker's 26.1.5. */
function upstreamVersion(version: string): string {
  return /^[\d.]+/.exec(withoutEpoch(version))?.[0] ?? version
}

/** Named after what is wanted, so that another version of the lab fetches its own. */
function treeOf(suite: Suite): string {
  const wanted = JSON.stringify([SUITES[suite], COMMON_PACKAGES])
  const name = createHash('sha256').update(wanted).digest('hex').slice(0, 12)
  return join(partsFolder(), `${suite}-${name}`)
}
