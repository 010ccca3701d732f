import { createHash, randomBytes, randomFillSync } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Digest, digestFromHex, digestHex } from '../../core/digest.ts'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import { freePort } from '../machine/free-port.ts'
import type { LabProcess, LabProcesses } from '../machine/processes.ts'
import { egressByBlob } from '../registry/registry-log.ts'
import { storedBlobFile } from '../registry/stored-blob.ts'
import { makeTokenSigningKey } from '../registry/token-authority.ts'
import { startTokenServer } from '../registry/token-server.ts'

/** Debian's docker-registry on loopback, with a token server inside this program. */
export interface LoopbackRegistry {
  /** As in image names. */
  readonly host: string
  readonly part: LabProcess
  /** PEM file of the authority that issued its certificate. */
  readonly caFile: string
  /** For the configuration of tracker and nodes. */
  readonly tokenKeys: { tokenKeysFile: string; issuer: string; audience: string }
  /** A new token for one pull, or for whoever pushes too. */
  token(...actions: ('pull' | 'push')[]): Promise<string>
  /** Makes a blob of random bytes that the registry has and nobody else. */
  addBlob(bytes: number): Promise<Digest>
  /** Bytes of the blob that have left the registry, by its access log. */
  sentBytes(blob: Digest): number
  close(): Promise<void>
}

export const REPOSITORY = 'lab/layers'
const ISSUER = 'Shoal lab'
/** Nobody renews them: longer than any run. */
const TOKEN_SECONDS = 24 * 3600
const WRITE_BYTES = 1024 * 1024
const ACCOUNT = { user: 'lab', password: randomBytes(18).toString('base64url') }

export interface RegistrySurroundings {
  /** Exists. */
  dir: string
  processes: LabProcesses
  /** For `localhost`. */
  tls: KeyedCertificate
  /** Of the authority that issued it. */
  authorityPem: string
}

export async function startLoopbackRegistry({
  dir,
  processes,
  tls,
  authorityPem,
}: RegistrySurroundings): Promise<LoopbackRegistry> {
  const write = (name: string, text: string) => {
    writeFileSync(join(dir, name), text, { mode: 0o600 })
    return join(dir, name)
  }
  const host = `localhost:${await freePort()}`
  const signingKey = await makeTokenSigningKey('ES256')
  const tokens = await startTokenServer({
    ...{ listen: { host: '127.0.0.1', port: 0 }, tls, signingKey, tokenSeconds: TOKEN_SECONDS },
    ...{ issuer: ISSUER, service: host },
    users: { [ACCOUNT.user]: { password: ACCOUNT.password, access: { [REPOSITORY]: ['pull', 'push'] } } },
  })
  const tokenUrl = `https://localhost:${tokens.address.port}/token`
  // The registry trusts a chain's end; Shoal, as configured here, the one key that signs.
  const rootcertbundle = write('token-bundle.pem', signingKey.bundlePem)
  const tokenKeysFile = write('token-keys.pem', signingKey.certificatePem)
  const storageDir = join(dir, 'storage')
  const config = {
    version: '0.1',
    log: { level: 'warn', accesslog: { disabled: false } },
    storage: { filesystem: { rootdirectory: storageDir }, cache: { blobdescriptor: 'inmemory' } },
    http: {
      addr: host,
      secret: randomBytes(16).toString('hex'),
      tls: { certificate: write('tls.crt', tls.certificatePem), key: write('tls.key', tls.privateKeyPem) },
    },
    auth: { token: { realm: tokenUrl, service: host, issuer: ISSUER, rootcertbundle } },
  }
  const part = processes.start({
    name: 'registry',
    // JSON is YAML.
    argv: ['docker-registry', 'serve', write('config.yml', JSON.stringify(config))],
    env: { OTEL_TRACES_EXPORTER: 'none' },
  })
  return {
    host,
    part,
    caFile: write('authority.pem', authorityPem),
    tokenKeys: { tokenKeysFile, issuer: ISSUER, audience: host },
    token: (...actions) => tokens.issue(ACCOUNT.user, [{ type: 'repository', name: REPOSITORY, actions }]),
    addBlob: (bytes) => addBlob(storageDir, bytes),
    sentBytes: (blob) => egressByBlob(readFileSync(part.logFile, 'utf8')).get(blob)?.bytes ?? 0,
    close: () => tokens.close(),
  }
}

/** As the registry itself stores a pushed blob: the bytes, and a link from the repository. */
async function addBlob(storageDir: string, bytes: number): Promise<Digest> {
  const draft = join(storageDir, 'draft')
  mkdirSync(storageDir, { recursive: true, mode: 0o700 })
  const whole = createHash('sha256')
  const step = Buffer.allocUnsafe(WRITE_BYTES)
  {
    await using file = await open(draft, 'wx')
    for (let written = 0; written < bytes; written += step.length) {
      randomFillSync(step)
      whole.update(step)
      await file.write(step)
    }
    await file.sync()
  }
  const digest = digestFromHex(whole.digest('hex'))
  const path = storedBlobFile(storageDir, digest)
  mkdirSync(dirname(path), { recursive: true })
  await rename(draft, path)
  const layers = join(storageDir, 'docker/registry/v2/repositories', REPOSITORY, '_layers/sha256')
  mkdirSync(join(layers, digestHex(digest)), { recursive: true })
  writeFileSync(join(layers, digestHex(digest), 'link'), digest)
  return digest
}
