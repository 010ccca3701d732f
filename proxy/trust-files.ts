import { existsSync, lstatSync, readFileSync, realpathSync, rmdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Conditions } from '../core/conditions.ts'
import { ensureFolder, readOwnFile, replaceFile } from '../core/data-folder.ts'
import { SHOAL_TRUST_FILE } from '../core/registry-trust.ts'
import { DOCKER_HUB, type RegistryHost } from '../core/repository.ts'
import { TrustFileError } from './errors.ts'

/**
 * The files that make pulling clients trust the proxy's authority. Docker reads every `*.crt` in `certs.d/<registry>/` at
 * each pull. Our file stands beside the others there, and Shoal never touches those. The authority file is replaced at each
 * start and never removed: what names it (`ca` in a hosts.toml, a link as shoal.crt) would else fail every pull while no
 * node runs. It is of no use then, as its keys end with the process.
 */

/** Docker reads these folders as root, and people look into them. An administrator decides who may write there. */
const DOCKER_FOLDERS = { mode: 0o755, isGroupTrusted: true }
export const DOCKER_FILE_NAME = SHOAL_TRUST_FILE
/** For podman, skopeo and other clients that people configure by hand; in the node's data folder. */
export const AUTHORITY_FILE_NAME = 'proxy-ca.crt'

export interface TrustPlaces {
  registries: Iterable<RegistryHost>
  /** The same for runtimes that are attached: what their links lead to. */
  publicFile?: string | undefined
  /** Docker's `certs.d`; '' to write nothing there. */
  dockerCertsDir: string
  authorityFile: string
  /** If absent, what hides the files is not shown. */
  conditions?: Pick<Conditions, 'raise' | 'clear'>
}

export class TrustFiles {
  readonly #authorityFile: string
  #places: TrustPlaces
  /** The directories that this process made. */
  readonly #madeDirs: string[] = []
  #contents = ''

  constructor(places: TrustPlaces) {
    this.#places = { ...places, registries: [...places.registries] }
    this.#authorityFile = places.authorityFile
  }

  /** From the next `put` on. What is no longer named is left as it is. */
  changePlaces(changes: Pick<TrustPlaces, 'registries' | 'publicFile'>): void {
    this.#places = { ...this.#places, ...changes, registries: [...changes.registries] }
  }

  /**
   * Writes or replaces every file.
   * @throws TrustFileError if one cannot be written; it first removes the others again
   */
  put(certificatesPem: string): void {
    const contents = `${certificatesPem.trim()}\n`
    try {
      for (const path of [...this.#authorityFiles(), ...this.#dockerPaths()]) {
        this.#madeDirs.push(...ensureFolder(dirname(path), DOCKER_FOLDERS))
        if (this.#isLinked(path)) continue
        // Docker must not read half a certificate; the draft's name does not end in `.crt`.
        replaceFile(path, contents, 0o644, `${path}.${process.pid}.new`)
      }
      this.#contents = contents
      this.#tellWhatHides()
    } catch (cause) {
      this.#contents = contents
      this.remove()
      throw new TrustFileError(`cannot write the proxy's authority: ${(cause as Error).message}`, {
        cause,
        hint: this.#hintFor(cause as NodeJS.ErrnoException),
      })
    }
  }

  /** Removes the files that are still as this process wrote them, and its own directories that are empty. */
  remove(): void {
    for (const path of this.#dockerPaths()) {
      if (readIfThere(path) === this.#contents) rmSync(path, { force: true })
    }
    const innermostFirst = this.#madeDirs.splice(0).sort((one, other) => other.length - one.length)
    for (const dir of innermostFirst) removeIfEmpty(dir)
  }

  #hintFor({ code }: NodeJS.ErrnoException): string {
    const { registries, dockerCertsDir } = this.#places
    if (dockerCertsDir === '') return 'Start it as a user who may write there.'
    const flags = `--registries ${[...registries].join(',')} --docker-certs-dir none`
    const isForRoot = code === 'EACCES' || code === 'EPERM'
    const asRoot = isForRoot ? `Only root writes to ${dockerCertsDir}: start it as root, or` : 'Mend that, or'
    return `${asRoot} write nothing there with \`npm start -- ${flags}\` (the same flags for \`shoal up\` and \`shoal node\`), and let clients trust ${this.#authorityFile}.`
  }

  #authorityFiles(): string[] {
    const { publicFile } = this.#places
    return publicFile === undefined ? [this.#authorityFile] : [this.#authorityFile, publicFile]
  }

  #dockerPaths(): string[] {
    const { registries, dockerCertsDir } = this.#places
    const folders = [...registries].flatMap((host) => trustFolders(dockerCertsDir, host))
    return [...new Set(folders)].map((folder) => join(folder, DOCKER_FILE_NAME))
  }

  /** `shoal attach` makes the files in Docker's folders links to the authority file, and takes them away again. */
  #isLinked(path: string): boolean {
    // Whoever put a link in its own place would choose what is written.
    const own = this.#authorityFiles()
    if (own.includes(path)) return false
    if (!lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() || !existsSync(path)) return false
    const target = realpathSync(path)
    return own.some((file) => existsSync(file) && realpathSync(file) === target)
  }

  #tellWhatHides(): void {
    const { registries, dockerCertsDir, conditions } = this.#places
    for (const host of registries) {
      const folder = trustFolders(dockerCertsDir, host)[0]
      const mend = folder && this.#mendOf(folder, host)
      if (mend === undefined) conditions?.clear('DOCKER_TRUST_HIDDEN', host)
      else conditions?.raise('DOCKER_TRUST_HIDDEN', host, { mend })
    }
  }

  #mendOf(folder: string, host: RegistryHost): string | undefined {
    const hosts = join(folder, 'hosts.toml')
    const names = [...this.#authorityFiles(), join(folder, DOCKER_FILE_NAME)]
    const text = existsSync(hosts) ? readText(hosts) : undefined
    if (text !== undefined) {
      // Any mention is an operator's decision.
      const isNamed = names.some((name) => text.includes(name))
      return isNamed ? undefined : `add ca = ["${this.#authorityFiles().at(-1)}"] to the host in ${hosts}`
    }
    if (!folder.endsWith(DEFAULT_FOLDER)) return undefined
    return `make ${join(dirname(folder), host)} with what ${folder} has in it, and start the node again`
  }
}

/** Of every registry that has no folder: the first folder that exists is all that dockerd's containerd store and containerd read. */
const DEFAULT_FOLDER = '_default'

/**
 * The folders where clients look for a registry's authorities, without one that would hide the operator's `_default`: that
 * takes its place.
 * @param dockerCertsDir Docker's `certs.d`; '' for none
 */
export function trustFolders(
  dockerCertsDir: string,
  host: RegistryHost,
  exists: (path: string) => boolean = existsSync,
): string[] {
  if (dockerCertsDir === '') return []
  const ofDefault = join(dockerCertsDir, DEFAULT_FOLDER)
  const own = foldersOf(host).map((name) => join(dockerCertsDir, name))
  return exists(ofDefault) ? [...new Set(own.map((dir) => (exists(dir) ? dir : ofDefault)))] : own
}

/** The folders in `certs.d` that clients read for the registry: podman and skopeo take Docker Hub's from its image names. */
function foldersOf(host: RegistryHost): string[] {
  return host === DOCKER_HUB ? ['docker.io', host] : [host]
}

function readIfThere(path: string): string | undefined {
  try {
    return readOwnFile(path)
  } catch {
    return undefined
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // Docker cannot read it either, and so reads the files beside it.
    return undefined
  }
}

function removeIfEmpty(dir: string): void {
  try {
    rmdirSync(dir)
  } catch {
    // Somebody put a file into it, so keep it.
  }
}
