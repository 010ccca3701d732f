import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Digest } from '../../core/digest.ts'
import { issueLeaf, type KeyedCertificate } from '../../core/issue-certificate.ts'
import { waitUntilListening } from '../machine/listening.ts'
import type { LabHost } from '../machine/network.ts'
import type { LabProcess, LabProcesses } from '../machine/processes.ts'
import { PASSWORDS_FILE, writePasswords } from './passwords.ts'
import { type FrontOptions, frontOf, type RegistryFront } from './registry-front.ts'
import { type BlobEgress, egressByBlob } from './registry-log.ts'
import type { StorageOptions } from './storage-main.ts'
import { storedBlobFile } from './stored-blob.ts'
import { makeTokenSigningKey, type TokenAlgorithm, type TokenSigningKey } from './token-authority.ts'
import type { TokenServerOptions, TokenUser } from './token-server.ts'

/**
 * Debian's docker-registry (Distribution 2.8) on its own host, at port 443 so that image names need no port, with the
 * token server beside it.
 */

export const REGISTRY_HOST = 'registry.shoal.test'
const REGISTRY_PORT = 443
/** Port of a registry that has a front at its usual port. */
const BACK_PORT = 5000
/** Host to which a registry with a front redirects blobs. */
export const STORAGE_HOST = 'storage.shoal.test'
const TOKEN_HOST = 'auth.shoal.test'
const TOKEN_PORT = 5001
const TOKEN_URL = `https://${TOKEN_HOST}:${TOKEN_PORT}/token`
const TOKEN_ISSUER = 'Shoal lab'
const CERTIFICATE_SECONDS = 7 * 24 * 3600

/** Names that must resolve to the registry's host. */
export const REGISTRY_ALIASES = [REGISTRY_HOST, TOKEN_HOST]

export interface Account {
  user: string
  password: string
}

/** Tokens with this signature; passwords, whose bcrypt hash the registry computes for every request; or nothing. */
export type RegistryAuthentication = TokenAlgorithm | 'passwords' | 'none'

export interface RegistryOptions {
  host: LabHost
  processes: LabProcesses
  /** Signs the registry's and the token server's TLS certificates. */
  authority: KeyedCertificate
  repository: string
  authentication: RegistryAuthentication
  tokenSeconds: number
  /** The token server answers at the registry's own host and port, as GitLab's and Artifactory's do. Needs a front. */
  hasTokensAtRegistry?: boolean
  /** The registry gets a front, which can redirect blobs to this host. */
  storageHost: LabHost | undefined
}

export interface LabRegistry {
  readonly host: string
  readonly repository: string
  readonly isOpen: boolean
  /** As Shoal's configuration calls it. */
  readonly kind: 'token' | 'introspect' | 'none'
  /** URL of the token server. */
  readonly tokenUrl: string
  /** May push and pull; `puller` may pull only, and `stranger` nothing. */
  readonly publisher: Account
  readonly puller: Account
  readonly stranger: Account
  readonly parts: LabProcess[]
  /** Undefined where clients talk to the registry itself. */
  readonly front: RegistryFront | undefined
  /** Starts the parts that do not run, with the same configuration and data. Resolves when all parts answer. */
  start(): Promise<void>
  /** The file that holds a blob as it was pushed. */
  blobFile(digest: Digest): string
  /** From the access logs of the registry and of its storage, since they started. */
  egress(): Map<Digest, BlobEgress>
}

export async function startRegistry(options: RegistryOptions): Promise<LabRegistry> {
  const dir = join(options.host.dir, 'registry')
  mkdirSync(join(dir, 'storage'), { recursive: true, mode: 0o700 })
  const tokenKeysFile = join(dir, 'token-bundle.pem')
  const tls = await issueLeaf(options.authority, {
    commonName: REGISTRY_HOST,
    validForSeconds: CERTIFICATE_SECONDS,
    names: [...REGISTRY_ALIASES, STORAGE_HOST].map((value) => ({ type: 'dns' as const, value })),
    usages: ['serverAuth'],
  })
  const publisher = { user: 'publisher', password: randomBytes(18).toString('base64url') }
  const puller = { user: 'puller', password: randomBytes(18).toString('base64url') }
  const stranger = { user: 'stranger', password: randomBytes(18).toString('base64url') }
  const starters: Starter[] = []
  if (options.authentication === 'passwords') {
    await writePasswords(options, join(dir, PASSWORDS_FILE), [publisher, puller])
  } else if (options.authentication !== 'none') {
    const signingKey = await makeTokenSigningKey(options.authentication)
    writeFileSync(tokenKeysFile, signingKey.bundlePem)
    const users = usersOf(options.repository, { publisher, puller, stranger })
    starters.push({
      host: options.host,
      port: TOKEN_PORT,
      start: () => startTokenProcess(options, dir, { tls, signingKey, users }),
    })
  }
  const { host, storageHost } = options
  starters.push({
    host,
    port: storageHost ? BACK_PORT : REGISTRY_PORT,
    start: () => startRegistryProcess(options, dir, tls, tokenKeysFile),
  })
  if (storageHost) starters.push(...frontStarters({ ...options, dir, tls, storageHost }))
  const parts: LabProcess[] = []
  const start = () => startMissing(options, starters, parts)
  await start()
  const part = (name: string) => parts.find((candidate) => candidate.name === name)
  const accessLogs = () => ['registry', 'storage'].flatMap((name) => part(name)?.logFile ?? [])
  return {
    host: REGISTRY_HOST,
    repository: options.repository,
    isOpen: options.authentication === 'none',
    kind: kindOf(options.authentication),
    tokenUrl: tokenUrlOf(options),
    ...{ publisher, puller, stranger, parts, start },
    front: storageHost && frontOf(() => part('registry-front')!),
    blobFile: (digest) => storedBlobFile(join(dir, 'storage'), digest),
    egress: () => egressByBlob(accessLogs().map(readText).join('')),
  }
}

const readText = (path: string) => readFileSync(path, 'utf8')

function kindOf(authentication: RegistryAuthentication): LabRegistry['kind'] {
  if (authentication === 'none') return 'none'
  return authentication === 'passwords' ? 'introspect' : 'token'
}

interface Starter {
  host: LabHost
  port: number
  start: () => LabProcess
}

/** Puts the running parts into `parts`, in the order of `starters`. */
async function startMissing(
  options: RegistryOptions,
  starters: Starter[],
  parts: LabProcess[],
): Promise<void> {
  for (const [index, { start }] of starters.entries()) {
    if (!parts[index]?.isRunning()) parts[index] = start()
  }
  for (const [index, { host, port }] of starters.entries()) {
    await waitUntilListening({ ...options, host, part: parts[index]!, ports: [port] })
  }
}

/** The storage, then the front. */
function frontStarters(
  options: RegistryOptions & { dir: string; tls: KeyedCertificate; storageHost: LabHost },
): Starter[] {
  const { dir, tls, host, storageHost, processes } = options
  const program = (name: string, config: StorageOptions | FrontOptions) => {
    const configFile = join(dir, `${name}.json`)
    writeFileSync(configFile, JSON.stringify(config), { mode: 0o600 })
    return [process.execPath, fileURLToPath(new URL(`./${name}-main.ts`, import.meta.url)), configFile]
  }
  const storage = program('storage', { listenPort: REGISTRY_PORT, storageDir: join(dir, 'storage'), tls })
  const front = program('registry-front', {
    listenPort: REGISTRY_PORT,
    registryPort: BACK_PORT,
    storageOrigin: `https://${STORAGE_HOST}`,
    tls,
    tokenServer: options.hasTokensAtRegistry
      ? { host: TOKEN_HOST, port: TOKEN_PORT, authorityPem: options.authority.certificatePem }
      : undefined,
  })
  return [
    {
      host: storageHost,
      port: REGISTRY_PORT,
      start: () => processes.start({ name: 'storage', argv: storageHost.command(storage) }),
    },
    {
      host,
      port: REGISTRY_PORT,
      start: () => processes.startPiped({ name: 'registry-front', argv: host.command(front) }),
    },
  ]
}

function usersOf(
  repository: string,
  { publisher, puller, stranger }: Pick<LabRegistry, 'publisher' | 'puller' | 'stranger'>,
): Record<string, TokenUser> {
  return {
    [publisher.user]: { password: publisher.password, access: { [repository]: ['pull', 'push'] } },
    [puller.user]: { password: puller.password, access: { [repository]: ['pull'] } },
    [stranger.user]: { password: stranger.password, access: {} },
  }
}

function startTokenProcess(
  { host, processes, tokenSeconds }: RegistryOptions,
  dir: string,
  secrets: { tls: KeyedCertificate; signingKey: TokenSigningKey; users: Record<string, TokenUser> },
): LabProcess {
  const config: TokenServerOptions = {
    listen: { host: '0.0.0.0', port: TOKEN_PORT },
    issuer: TOKEN_ISSUER,
    service: REGISTRY_HOST,
    tokenSeconds,
    ...secrets,
  }
  const configFile = join(dir, 'token-server.json')
  writeFileSync(configFile, JSON.stringify(config), { mode: 0o600 })
  const program = fileURLToPath(new URL('./token-server-main.ts', import.meta.url))
  return processes.start({
    name: 'token-server',
    argv: host.command([process.execPath, program, configFile]),
  })
}

function tokenUrlOf({ hasTokensAtRegistry }: RegistryOptions): string {
  return hasTokensAtRegistry ? `https://${REGISTRY_HOST}/token` : TOKEN_URL
}

function authOf(authentication: RegistryAuthentication, token: object, path: string): object {
  if (authentication === 'none') return {}
  return { auth: authentication === 'passwords' ? { htpasswd: { realm: REGISTRY_HOST, path } } : { token } }
}

function startRegistryProcess(
  options: RegistryOptions,
  dir: string,
  tls: KeyedCertificate,
  bundle: string,
): LabProcess {
  const { host, processes, authentication, storageHost } = options
  const certificate = join(dir, 'tls.crt')
  const key = join(dir, 'tls.key')
  writeFileSync(certificate, tls.certificatePem)
  writeFileSync(key, tls.privateKeyPem, { mode: 0o600 })
  const token = {
    realm: tokenUrlOf(options),
    service: REGISTRY_HOST,
    issuer: TOKEN_ISSUER,
    rootcertbundle: bundle,
  }
  const config = {
    version: '0.1',
    log: { level: 'warn', accesslog: { disabled: false } },
    storage: { filesystem: { rootdirectory: join(dir, 'storage') }, cache: { blobdescriptor: 'inmemory' } },
    http: {
      ...(storageHost
        ? { addr: `127.0.0.1:${BACK_PORT}` }
        : { addr: `0.0.0.0:${REGISTRY_PORT}`, tls: { certificate, key } }),
      secret: randomBytes(16).toString('hex'),
    },
    ...authOf(authentication, token, join(dir, PASSWORDS_FILE)),
  }
  const configFile = join(dir, 'config.yml')
  // JSON is YAML.
  writeFileSync(configFile, JSON.stringify(config), { mode: 0o600 })
  return processes.start({
    name: 'registry',
    argv: host.command(['docker-registry', 'serve', configFile]),
    env: { OTEL_TRACES_EXPORTER: 'none' },
  })
}
