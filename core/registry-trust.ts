import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { SecureContext } from 'node:tls'
import { ShoalError } from './errors.ts'
import { REGISTRY_FILE_BYTES_MAX, type RegistryConfig, readRegistryFile } from './registry-config.ts'
import {
  type ClientIdentity,
  certificatesOf,
  contextTrusting,
  trustedAuthorities,
} from './trusted-authorities.ts'

/** A registry's client certificate or key cannot be read or used: leave the registry to clients that can. */
export class ClientCertificateError extends ShoalError {
  readonly code = 'CLIENT_CERTIFICATE'
  readonly path: string

  constructor(path: string, cause: Error) {
    super(`the client certificate for a registry cannot be used: ${path}: ${cause.message}`, { cause })
    this.path = path
  }
}

/** Our own file in Docker's folder of a registry (proxy/trust-files.ts); it says nothing about the registry. */
export const SHOAL_TRUST_FILE = 'shoal.crt'
/** In Docker's and containerd's folders: for every registry without one of its own. */
const DEFAULT_FOLDER = '_default'
/** Where containerd and podman keep the same per registry, besides Docker's folder. */
const OTHER_CERTS_DIRS = ['/etc/containerd/certs.d', '/etc/containers/certs.d']

/** The folders of a machine's runtimes. @param dockerCertsDir '' for none, of any of them */
export function certsDirsOf(dockerCertsDir: string): string[] {
  return dockerCertsDir === '' ? [] : [dockerCertsDir, ...OTHER_CERTS_DIRS]
}

/** How often the folders are looked at while connections are made. */
const LOOK_AGAIN_MS = 1000
/** Bound of files that are read from one folder; the first by name count. */
const FILES_MAX = 64

/** What TLS with a registry needs. */
export interface RegistryContexts {
  /** For the registry itself: presents the client certificate if there is one. */
  registry: SecureContext
  /** For the stores that it redirects to: no client certificate. */
  elsewhere: SecureContext
  /** Set if a client certificate is there that this process cannot use. */
  unusable?: ClientCertificateError
}

/**
 * What a registry's host has for it: the system's store, `caFile`, and the folders where Docker and other clients look
 * (`certs.d/<host>`: `*.crt` are authorities, `*.cert` with `*.key` a client certificate; docs.docker.com, "Verify
 * repository client with certificates"). Files that change count from the next connection on. Invariant: `#contexts` is of
 * the files that `#seen` describes.
 */
export class RegistryTrust {
  readonly #config: RegistryConfig
  readonly #places: { dirs: string[]; otherwise: string }[]
  readonly #shared: SharedContext
  readonly #nowMs: () => number
  #seen = ''
  #contexts: RegistryContexts
  #lookedMs = Number.NEGATIVE_INFINITY

  /**
   * @param certsDirs folders with one folder per registry, as Docker's `certs.d`
   * @throws RegistryFileError, AuthorityBundleError for the configured files
   */
  constructor(
    config: RegistryConfig,
    certsDirs: readonly string[],
    { shared = new SharedContext(), nowMs = () => performance.now() }: TrustSurroundings = {},
  ) {
    this.#config = config
    this.#places = certsDirs.map((dir) => ({
      dirs: namesOf(config.host).map((name) => join(dir, name)),
      otherwise: join(dir, DEFAULT_FOLDER),
    }))
    this.#shared = shared
    this.#nowMs = nowMs
    // Read now, so that a mistake in the configuration stops the program.
    this.#contexts = this.#make(this.#look())
  }

  contexts(): RegistryContexts {
    if (this.#nowMs() - this.#lookedMs < LOOK_AGAIN_MS) return this.#contexts
    const before = this.#seen
    const files = this.#look()
    if (this.#seen === before) return this.#contexts
    try {
      this.#contexts = this.#make(files)
    } catch (error) {
      // A configured file is being replaced, or is gone: go on with what it said.
      if (!(error instanceof ShoalError)) throw error
    }
    return this.#contexts
  }

  #look(): TrustFile[] {
    this.#lookedMs = this.#nowMs()
    const files = this.#places.flatMap(filesAt)
    const { caFile, clientCertFile, clientKeyFile } = this.#config
    const configured = [caFile, clientCertFile, clientKeyFile].filter((path) => path !== undefined)
    const versions = [...files, ...configured.map((path) => ({ path, version: versionOf(path) }))]
    this.#seen = versions.map(({ path, version }) => `${path} ${version}`).join('\n')
    return files
  }

  #make(files: TrustFile[]): RegistryContexts {
    const { caFile } = this.#config
    const found = files.filter(({ path }) => path.endsWith('.crt')).flatMap(authoritiesIn)
    const configured = caFile === undefined ? undefined : readRegistryFile(caFile, 'caFile')
    const hasOwn = configured !== undefined || found.length > 0
    const authorities = () => [...trustedAuthorities(configured, `caFile: ${caFile}`), ...found]
    const elsewhere = hasOwn ? contextTrusting(authorities()) : this.#shared.context
    try {
      const identity = identityOf(this.#config) ?? identityIn(files)
      const registry = identity === undefined ? elsewhere : contextWith(authorities(), identity)
      return { registry, elsewhere }
    } catch (error) {
      if (!(error instanceof ClientCertificateError)) throw error
      return { registry: elsewhere, elsewhere, unusable: error }
    }
  }
}

/** One context of the system's store for all registries that need no other. */
export class SharedContext {
  #context: SecureContext | undefined

  get context(): SecureContext {
    this.#context ??= contextTrusting(trustedAuthorities())
    return this.#context
  }
}

interface TrustSurroundings {
  shared?: SharedContext
  nowMs?: () => number
}

/** The image name's spelling of the default port has a folder of its own. */
function namesOf(host: string): string[] {
  return /:\d+$/.test(host) ? [host] : [host, `${host}:443`]
}

interface TrustFile {
  path: string
  /** Changes with the content, as far as the file system tells. */
  version: string
}

/** A registry without a folder has that of all; a client certificate there is for whichever hosts Docker asks, and not ours. */
function filesAt({ dirs, otherwise }: { dirs: string[]; otherwise: string }): TrustFile[] {
  if (dirs.some((dir) => existsSync(dir))) return dirs.flatMap(filesIn)
  return filesIn(otherwise).filter(({ path }) => path.endsWith('.crt'))
}

function filesIn(dir: string): TrustFile[] {
  let names: string[]
  try {
    names = readdirSync(dir)
  } catch (error) {
    // A folder that may not be read may hold a client certificate.
    return (error as NodeJS.ErrnoException).code === 'EACCES'
      ? [{ path: join(dir, '*.cert'), version: '' }]
      : []
  }
  // Docker and containerd then read nothing else here: loose files may be those of a mirror.
  if (names.includes('hosts.toml')) return []
  const wanted = names.filter((name) => /\.(?:crt|cert|key)$/.test(name) && name !== SHOAL_TRUST_FILE)
  return wanted
    .sort()
    .slice(0, FILES_MAX)
    .map((name) => ({ path: join(dir, name), version: versionOf(join(dir, name)) }))
}

function versionOf(path: string): string {
  const found = statSync(path, { throwIfNoEntry: false, bigint: true })
  return found === undefined ? 'none' : `${found.ino} ${found.size} ${found.mtimeNs} ${found.ctimeNs}`
}

/** As Docker does, a file that is no certificate is left out. */
function authoritiesIn({ path }: TrustFile): string[] {
  try {
    return certificatesOf(bounded(path)).map(String)
  } catch {
    return []
  }
}

function identityOf({ clientCertFile, clientKeyFile }: RegistryConfig): FileIdentity | undefined {
  if (clientCertFile === undefined || clientKeyFile === undefined) return undefined
  return {
    path: clientCertFile,
    certificatePem: readRegistryFile(clientCertFile, 'clientCertFile'),
    privateKeyPem: readRegistryFile(clientKeyFile, 'clientKeyFile'),
  }
}

interface FileIdentity extends ClientIdentity {
  path: string
}

/** The first pair by name. @throws ClientCertificateError */
function identityIn(files: TrustFile[]): FileIdentity | undefined {
  const path = files.map((file) => file.path).find((name) => name.endsWith('.cert'))
  if (path === undefined) return undefined
  try {
    const key = path.replace(/\.cert$/, '.key')
    return { path, certificatePem: bounded(path), privateKeyPem: bounded(key) }
  } catch (cause) {
    throw new ClientCertificateError(path, cause as Error)
  }
}

function contextWith(authorities: string[], identity: FileIdentity): SecureContext {
  try {
    return contextTrusting(authorities, identity)
  } catch (cause) {
    throw new ClientCertificateError(identity.path, cause as Error)
  }
}

function bounded(path: string): string {
  const size = statSync(path).size
  if (size > REGISTRY_FILE_BYTES_MAX) throw new RangeError('the file is too large')
  return readFileSync(path, 'utf8')
}
