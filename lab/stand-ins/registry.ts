import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Digest } from '../../core/digest.ts'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import { makeImage } from '../image/image.ts'
import { freePort } from '../machine/free-port.ts'
import { isAnswering } from '../machine/listening.ts'
import { type LabProcess, type LabProcesses, waitForPart } from '../machine/processes.ts'
import type { ImageReference } from '../pullers/puller.ts'
import type { Account } from '../registry/registry.ts'
import { type BlobEgress, egressByBlob } from '../registry/registry-log.ts'
import { makeTokenSigningKey } from '../registry/token-authority.ts'
import type { TokenServerOptions } from '../registry/token-server.ts'
import { runClient } from './client.ts'

/** The stand-in for Debian's docker-registry: a program of this repository on loopback that needs Node and nothing else. */
export interface StandInRegistry {
  /** As in image names. */
  readonly host: string
  readonly part: LabProcess
  /** PEM file of the authority that issued its certificate. */
  readonly caFile: string
  readonly puller: Account
  /** Has an account, and no right. */
  readonly stranger: Account
  /** Makes an image and pushes it. */
  publish(tag: string, layerDataBytes: number[]): Promise<ImageReference>
  /** By its access log. */
  egress(): Map<Digest, BlobEgress>
}

/** What the program reads. */
export interface StandInRegistryConfig {
  listen: { port: number }
  /** Under which its token server is reached too. */
  name: string
  dir: string
  tls: KeyedCertificate
  tokens: TokenServerOptions
}

const PROGRAM = fileURLToPath(new URL('./registry-main.ts', import.meta.url))
const REPOSITORY = 'team/app'
const LOOPBACK = '127.0.0.1'
const HTTPS_PORT = 443
/** Long enough for a demonstration. */
const TOKEN_SECONDS = 300

/** @param dir exists */
export async function startStandInRegistry({
  dir,
  processes,
  tls,
  authorityPem,
  place,
}: {
  dir: string
  processes: LabProcesses
  /** For the name of the place. */
  tls: KeyedCertificate
  authorityPem: string
  /** Absent: any port of `localhost`. */
  place?: { name: string; port: number }
}): Promise<StandInRegistry> {
  const [port, tokenPort] = [place?.port ?? (await freePort()), await freePort()]
  const { name = 'localhost' } = place ?? {}
  const host = port === HTTPS_PORT ? name : `${name}:${port}`
  const account = (user: string) => ({ user, password: randomBytes(18).toString('base64url') })
  const [publisher, puller, stranger] = [account('publisher'), account('puller'), account('stranger')]
  const rights = (actions: string[]) => ({ [REPOSITORY]: actions })
  const config: StandInRegistryConfig = {
    listen: { port },
    name,
    dir: join(dir, 'blobs'),
    tls,
    tokens: {
      listen: { host: LOOPBACK, port: tokenPort },
      tls,
      signingKey: await makeTokenSigningKey('ES256'),
      issuer: 'Shoal lab',
      service: host,
      users: {
        publisher: { password: publisher.password, access: rights(['pull', 'push']) },
        puller: { password: puller.password, access: rights(['pull']) },
        stranger: { password: stranger.password, access: {} },
      },
      tokenSeconds: TOKEN_SECONDS,
    },
  }
  const configFile = join(dir, 'config.json')
  writeFileSync(configFile, JSON.stringify(config), { mode: 0o600 })
  const caFile = join(dir, 'authority.pem')
  writeFileSync(caFile, authorityPem)
  const part = processes.start({ name: 'registry', argv: [process.execPath, PROGRAM, configFile] })
  await waitForPart(part, () => isAnswering(LOOPBACK, port))
  return {
    ...{ host, part, caFile, puller, stranger },
    async publish(tag, layerDataBytes) {
      const layout = join(dir, `image-${tag}`)
      const image = await makeImage({ dir: layout, layerDataBytes, tag })
      const place = { registry: host, repository: REPOSITORY, caFiles: [caFile] }
      await runClient({ processes }, { act: 'push', tag, layout, account: publisher, ...place })
      return { ...image, name: `${host}/${REPOSITORY}:${tag}` }
    },
    egress: () => egressByBlob(readFileSync(part.logFile, 'utf8')),
  }
}
