import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { LabRequirementError } from '../errors.ts'
import { LAB_PATH } from '../machine/requirements.ts'
import type { Suite } from './suites.ts'

/**
 * An apt of its own in a folder: own sources, lists, status and cache. The machine's apt is only read: for the address
 * of its mirror and its proxy. Signatures are verified with Debian's keyring, as the machine's are.
 */

const run = promisify(execFile)

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'
/** A package's line in Debian's list. */
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024
/** Of one apt command: 240 MB on a slow line. */
const APT_MS_MAX = 15 * 60_000
const PROXY_KEYS = ['Acquire::http::Proxy', 'Acquire::https::Proxy']

export class AptRoot {
  readonly #dir: string
  readonly #configFile: string

  private constructor(dir: string) {
    this.#dir = dir
    this.#configFile = join(dir, 'apt.conf')
  }

  /**
   * @param architecture of the packages; absent: the machine's
   * @throws LabRequirementError where the machine is no Debian, or its sources name no mirror of Debian
   */
  static async make(dir: string, suite: Suite, architecture?: string): Promise<AptRoot> {
    const folders = ['etc/apt/apt.conf.d', 'etc/apt/preferences.d', 'etc/apt/sources.list.d', 'dpkg']
    const state = ['state/lists/partial', 'cache/archives/partial']
    for (const folder of [...folders, ...state])
      mkdirSync(join(dir, folder), { recursive: true, mode: 0o700 })
    const source = `deb [signed-by=${KEYRING}] ${await mirrorOfThisMachine()} ${suite} main\n`
    writeFileSync(join(dir, 'etc/apt/sources.list'), source)
    // Nothing counts as installed, so that every dependency is fetched.
    writeFileSync(join(dir, 'dpkg/status'), '')
    const root = new AptRoot(dir)
    writeFileSync(root.#configFile, configOf(dir, await settingsOfThisMachine(), architecture))
    return root
  }

  async update(): Promise<void> {
    await this.#apt('apt-get', 'update', '--error-on=any')
  }

  /** The versions that the suite has now, newest first. */
  async versionsOf(name: string): Promise<string[]> {
    const lines = (await this.#apt('apt-cache', 'madison', name)).split('\n')
    return lines.flatMap((line) => line.split('|')[1]?.trim() ?? [])
  }

  /** Downloads packages and all that they depend on. @returns the archives' paths */
  async download(wanted: string[]): Promise<string[]> {
    await this.#apt('apt-get', 'install', '--yes', '--download-only', '--no-install-recommends', ...wanted)
    return archivesIn(join(this.#dir, 'cache/archives'))
  }

  /** Downloads these packages alone, each as `name=version`. @returns the archives' paths */
  async fetch(wanted: string[]): Promise<string[]> {
    await this.#apt('apt-get', 'download', ...wanted)
    return archivesIn(this.#dir)
  }

  async #apt(program: string, ...argv: string[]): Promise<string> {
    const env = {
      PATH: LAB_PATH,
      LANG: 'C.UTF-8',
      APT_CONFIG: this.#configFile,
      DEBIAN_FRONTEND: 'noninteractive',
    }
    const options = { env, cwd: this.#dir, maxBuffer: OUTPUT_BYTES_MAX, timeout: APT_MS_MAX }
    try {
      return (await run(program, argv, options)).stdout
    } catch (error) {
      const { stderr } = error as { stderr?: string }
      throw new LabRequirementError(`${program} ${argv[0]} failed: ${lastLine(stderr)}`, { cause: error })
    }
  }
}

function archivesIn(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.deb'))
    .map((name) => join(folder, name))
}

/** The mirror that serves this machine's own release: other suites are on it too. */
async function mirrorOfThisMachine(): Promise<string> {
  const hint = 'This needs Debian 12 or newer, with its sources for apt.'
  try {
    const release = /^VERSION_CODENAME=(.+)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1]
    const format = '$(RELEASE) $(COMPONENT) $(REPO_URI)'
    const { stdout } = await run('apt-get', ['indextargets', '--format', format, 'Created-By: Packages'])
    const found = stdout.split('\n').find((line) => line.startsWith(`${release} main `))
    if (found !== undefined) return found.split(' ')[2]!
  } catch (cause) {
    throw new LabRequirementError('the machine has no apt that can be asked for its mirror', { cause, hint })
  }
  throw new LabRequirementError('the sources of this machine’s apt name no mirror of its own release', {
    hint,
  })
}

async function settingsOfThisMachine(): Promise<string> {
  const { stdout } = await run('apt-config', ['dump', ...PROXY_KEYS])
  return stdout
}

/** Sid's lists are signed for a week, and a mirror may be older. */
function configOf(dir: string, proxies: string, architecture?: string): string {
  const foreign = `APT::Architecture "${architecture}";\nAPT::Architectures { "${architecture}"; };\n`
  return `Dir "${dir}/";
Dir::State "state";
Dir::State::status "${join(dir, 'dpkg/status')}";
Dir::Cache "cache";
Dir::Etc "etc/apt";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11 { DefaultEnabled "false"; };
Acquire::IndexTargets::deb::Contents-deb { DefaultEnabled "false"; };
APT::Sandbox::User "";
${architecture === undefined ? '' : foreign}${proxies}`
}

function lastLine(text: string | undefined): string {
  return text?.trim().split('\n').at(-1) ?? 'it gave no reason'
}
