import { readlinkSync, rmdirSync, rmSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { ensureFolder, readOwnFile, replaceFile } from '../core/data-folder.ts'
import { SHOAL_TRUST_FILE } from '../core/registry-trust.ts'
import { DOCKER_HUB, type RegistryHost } from '../core/repository.ts'
import { TrustFileError } from './errors.ts'

/**
 * The files that make pulling clients trust the proxy's authority. Docker reads every `*.crt` in `certs.d/<registry>/` at
 * each pull. Our file stands beside the others there, and Shoal never touches those. `shoal attach` puts links to the file in
 * the data folder there instead: while one may be there, that file is replaced and never removed, as a link that leads
 * nowhere fails every pull of its registry.
 */

/** Docker reads these folders as root, and people look into them. An administrator decides who may write there. */
const DOCKER_FOLDERS = { mode: 0o755, isGroupTrusted: true }
export const DOCKER_FILE_NAME = SHOAL_TRUST_FILE
/** For podman, skopeo and other clients that people configure by hand; in the node's data folder. */
export const AUTHORITY_FILE_NAME = 'proxy-ca.crt'

export interface TrustPlaces {
  registries: Iterable<RegistryHost>
  /** Docker's `certs.d`; '' to write nothing there. */
  dockerCertsDir: string
  dataDir: string
  /** Runtimes of this machine are attached; default false. */
  isAttached?: () => boolean
}

export class TrustFiles {
  readonly #dockerPaths: string[]
  readonly #authorityPath: string
  readonly #isAttached: () => boolean
  /** The directories that this process made. */
  readonly #madeDirs: string[] = []
  #contents = ''

  constructor({ registries, dockerCertsDir, dataDir, isAttached = () => false }: TrustPlaces) {
    const docker = dockerCertsDir === '' ? [] : [...registries]
    this.#dockerPaths = docker
      .flatMap(foldersOf)
      .map((folder) => join(dockerCertsDir, folder, DOCKER_FILE_NAME))
    this.#authorityPath = join(dataDir, AUTHORITY_FILE_NAME)
    this.#isAttached = isAttached
  }

  /**
   * Writes or replaces every file.
   * @throws TrustFileError if one cannot be written; it first removes the others again
   */
  put(certificatesPem: string): void {
    const contents = `${certificatesPem.trim()}\n`
    try {
      for (const path of [...this.#dockerPaths.filter((one) => !this.#isLink(one)), this.#authorityPath]) {
        this.#madeDirs.push(...ensureFolder(dirname(path), DOCKER_FOLDERS))
        // Docker must not read half a certificate; the draft's name does not end in `.crt`.
        replaceFile(path, contents, 0o644, `${path}.${process.pid}.new`)
      }
      this.#contents = contents
    } catch (cause) {
      this.#contents = contents
      this.remove()
      throw new TrustFileError(`cannot write the proxy's authority: ${(cause as Error).message}`, {
        cause,
        hint: "Run as a user who may write there, or set dockerCertsDir to 'none' and give clients the authority by hand.",
      })
    }
  }

  /** Removes the files that are still as this process wrote them, and its own directories that are empty. */
  remove(): void {
    const isKept = this.#isAttached() || this.#dockerPaths.some((path) => this.#isLink(path))
    for (const path of [...this.#dockerPaths, ...(isKept ? [] : [this.#authorityPath])]) {
      if (readIfThere(path) === this.#contents) rmSync(path, { force: true })
    }
    const innermostFirst = this.#madeDirs.splice(0).sort((one, other) => other.length - one.length)
    for (const dir of innermostFirst) removeIfEmpty(dir)
  }

  /** `shoal attach` put it there: it leads to the file that is written in any case. */
  #isLink(path: string): boolean {
    try {
      return resolve(readlinkSync(path)) === resolve(this.#authorityPath)
    } catch {
      return false
    }
  }
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

function removeIfEmpty(dir: string): void {
  try {
    rmdirSync(dir)
  } catch {
    // Somebody put a file into it, so keep it.
  }
}
