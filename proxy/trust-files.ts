import { rmdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ensureFolder, readOwnFile, replaceFile } from '../core/data-folder.ts'
import type { RegistryHost } from '../core/repository.ts'
import { TrustFileError } from './errors.ts'

/**
 * The files that tell pulling clients to trust the proxy's authority. Docker reads every `*.crt` in
 * `certs.d/<registry>/` at each pull, so ours stands beside whatever is there, and nothing but ours is ever touched.
 */

/** Docker reads them with the rights of root, people look into them. Who may write there, an administrator has said. */
const DOCKER_FOLDERS = { mode: 0o755, isGroupTrusted: true }
const DOCKER_FILE_NAME = 'shoal.crt'
/** For podman, skopeo and other clients that are told by hand; in the node's data directory. */
export const AUTHORITY_FILE_NAME = 'proxy-ca.crt'

export interface TrustPlaces {
  registries: Iterable<RegistryHost>
  /** Docker's `certs.d`; '' when nothing is to be written there. */
  dockerCertsDir: string
  dataDir: string
}

export class TrustFiles {
  readonly #paths: string[]
  /** The directories that were made here. */
  readonly #madeDirs: string[] = []
  #contents = ''

  constructor({ registries, dockerCertsDir, dataDir }: TrustPlaces) {
    const docker = dockerCertsDir === '' ? [] : [...registries]
    this.#paths = docker.map((host) => join(dockerCertsDir, host, DOCKER_FILE_NAME))
    this.#paths.push(join(dataDir, AUTHORITY_FILE_NAME))
  }

  /**
   * Writes or replaces every file.
   * @throws TrustFileError when one cannot be written; those that were are removed again
   */
  put(certificatesPem: string): void {
    const contents = `${certificatesPem.trim()}\n`
    try {
      for (const path of this.#paths) {
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
        hint: "Run as a user who may write there, or set dockerCertsDir to 'none' and tell clients of the authority by hand.",
      })
    }
  }

  /** Removes the files that still are as this process wrote them, and the directories it made that are empty. */
  remove(): void {
    for (const path of this.#paths) {
      if (readIfThere(path) === this.#contents) rmSync(path, { force: true })
    }
    const innermostFirst = this.#madeDirs.splice(0).sort((one, other) => other.length - one.length)
    for (const dir of innermostFirst) removeIfEmpty(dir)
  }
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
    // Someone put something into it: theirs now.
  }
}
