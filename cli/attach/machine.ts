import { execFile } from 'node:child_process'
import { homedir, hostname } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { readSmallIfThere } from '../../core/read-if-there.ts'
import { DOCKER_HUB, type RegistryHost } from '../../core/repository.ts'
import { askPerson } from '../outside.ts'
import { checkRegistry, untilNodeFollows } from './check.ts'
import { ATTACHED_FILE_BYTES_MAX, FileTree } from './file-tree.ts'
import { trustFolders } from './plan.ts'
import type { Machine } from './surroundings.ts'

/** This machine, as `shoal attach` finds it. */

/** Bound of a question to a runtime. */
const RUN_PATIENCE_MS = 30_000
/** Bound of a runtime's answer, in bytes. */
export const RUN_BYTES_MAX = 4 * 1024 * 1024
const CERTS_DIRS = ['/etc/docker/certs.d', '/etc/containers/certs.d']

export function thisMachine(root: string): Machine {
  const isTerminal = process.stdin.isTTY && process.stdout.isTTY
  return {
    root,
    isLive: root === '/',
    isRoot: process.geteuid?.() === 0,
    hostname: hostname().toLowerCase(),
    // The programs of a tree are not those that will run from it.
    run: root === '/' ? runProgram : async () => undefined,
    refusal: refusalOf,
    async check(registry, settings) {
      const question = () => ({
        ...settings,
        registry,
        trustedPem: trustedFor(registry),
        authorityPem: readSmallIfThere(settings.authorityFile, ATTACHED_FILE_BYTES_MAX),
        login: loginFor(registry),
      })
      await untilNodeFollows(question)
      return checkRegistry(question())
    },
    print: (text) => process.stdout.write(`${text}\n`),
    ...(isTerminal ? { ask: askPerson } : {}),
  }
}

async function runProgram([program, ...argv]: string[]): Promise<string | undefined> {
  try {
    const limits = { timeout: RUN_PATIENCE_MS, maxBuffer: RUN_BYTES_MAX }
    const { stdout } = await promisify(execFile)(program!, argv, limits)
    return stdout
  } catch {
    return undefined
  }
}

/** @returns the last line of what a program that refuses says */
async function refusalOf([program, ...argv]: string[]): Promise<string | undefined> {
  try {
    await promisify(execFile)(program!, argv, { timeout: RUN_PATIENCE_MS, maxBuffer: RUN_BYTES_MAX })
    return undefined
  } catch (error) {
    const { stderr = '', message } = error as { stderr?: string; message: string }
    return stderr.trim().split('\n').at(-1) || message
  }
}

/** What Docker and its relatives trust for a registry besides the system's store. */
function trustedFor(registry: RegistryHost): string[] {
  const tree = new FileTree('/')
  const folders = CERTS_DIRS.flatMap((dir) => trustFolders(registry).map((name) => join(dir, name)))
  const files = folders.flatMap((folder) => tree.list(folder).map((name) => join(folder, name)))
  return files
    .filter((path) => path.endsWith('.crt'))
    .flatMap((path) => readSmallIfThere(path, ATTACHED_FILE_BYTES_MAX) ?? [])
}

/** Of the user who attaches, as `docker login` or `podman login` left it. */
function loginFor(registry: RegistryHost): string | undefined {
  const names =
    registry === DOCKER_HUB
      ? ['https://index.docker.io/v1/', 'docker.io', registry]
      : [registry, `https://${registry}`]
  const uid = process.geteuid?.() ?? 0
  const files = [
    join(homedir(), '.docker/config.json'),
    `/run/containers/${uid}/auth.json`,
    join(homedir(), '.config/containers/auth.json'),
  ]
  for (const file of files) {
    const auths = authsIn(readSmallIfThere(file, ATTACHED_FILE_BYTES_MAX))
    const auth = names.map((name) => auths[name]?.auth).find((one) => one !== undefined && one !== '')
    if (auth !== undefined) return auth
  }
  return undefined
}

function authsIn(text: string | undefined): Record<string, { auth?: string } | undefined> {
  try {
    return (JSON.parse(text ?? '{}') as { auths?: Record<string, { auth?: string }> }).auths ?? {}
  } catch {
    return {}
  }
}
