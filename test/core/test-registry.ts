import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type ServerOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jwtVerify } from 'jose'
import { type Digest, digestFromHex } from '../../core/digest.ts'
import { issueLeaf, type KeyedCertificate, makeAuthority } from '../../core/issue-certificate.ts'
import {
  openRegistries,
  type RegistryClients,
  type RegistrySurroundings,
} from '../../core/registry-client.ts'
import { type RegistryConfig, registryConfig } from '../../core/registry-config.ts'
import { parseRegistryHost, type RegistryHost, type Repository } from '../../core/repository.ts'
import type { Signer } from './signed-tokens.ts'

export const REPOSITORY = 'team/app' as Repository
export const BLOB: Digest = digestFromHex('a'.repeat(64))
export const BLOB_BYTES = 12345

/** For the longest tokens. */
const HEADER_BYTES_MAX = 64 * 1024

/** How a registry answers a request with a bearer token. */
export type Door = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>

export interface TestRegistry {
  readonly host: RegistryHost
  readonly config: RegistryConfig
  readonly clients: RegistryClients
  /** What its certificate comes from, unless the test gave it another. */
  readonly authority: KeyedCertificate
  /** `<method> <path>` of every request, and the Authorization header that came with it. */
  readonly requests: { line: string; authorization: string | undefined }[]
  /** Path of a new file that lasts as long as the registry. */
  writeFile(name: string, text: string): string
  door: Door
  /** Listens no more, and ends all connections. */
  stop(): Promise<void>
  close(): Promise<void>
}

interface TestServer {
  /** The name in its certificate and address; it listens on loopback all the same. */
  name?: string
  /** What else its TLS shows or asks for. */
  tls?: ServerOptions
}

/** An HTTPS server with a certificate of an authority of its own, on loopback. */
export async function startTestRegistry(
  door: Door,
  changes: Partial<RegistryConfig> = {},
  { name = 'localhost', tls = {}, ...patience }: RegistrySurroundings & TestServer = {},
): Promise<TestRegistry> {
  const authority = await makeAuthority({ commonName: 'test authority', validForSeconds: 600 })
  const leaf = await issueLeaf(authority, {
    commonName: name,
    validForSeconds: 600,
    names: [{ type: 'dns', value: name }],
    usages: ['serverAuth'],
  })
  const folder = mkdtempSync(join(tmpdir(), 'shoal-registry-'))
  const requests: TestRegistry['requests'] = []
  const server = createServer(
    { cert: leaf.certificatePem, key: leaf.privateKeyPem, maxHeaderSize: HEADER_BYTES_MAX, ...tls },
    (request, response) => {
      requests.push({
        line: `${request.method} ${request.url}`,
        authorization: request.headers.authorization,
      })
      void registry.door(request, response)
    },
  )
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve))
  const host = parseRegistryHost(`${name}:${(server.address() as AddressInfo).port}`)
  const writeFile = (name: string, text: string) => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  const config = registryConfig.parse({
    host,
    caFile: writeFile('ca.pem', authority.certificatePem),
    ...changes,
  })
  const clients = openRegistries([config], patience)
  const registry: TestRegistry = {
    ...{ host, config, clients, authority, requests, writeFile, door },
    async stop() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
    async close() {
      for (const client of clients.values()) await client.close()
      await registry.stop()
      rmSync(folder, { recursive: true })
    },
  }
  return registry
}

/** A registry that verifies signature, issuer, audience, times and access, with jose. */
export function honestDoor(
  signer: Signer,
  expected = { issuer: 'token server', audience: 'registry' },
): Door {
  return async (request, response) => {
    const jwt = request.headers.authorization?.replace(/^Bearer /, '') ?? ''
    const [, repository, digest] = /^\/v2\/(.+)\/blobs\/(.+)$/.exec(request.url ?? '') ?? []
    try {
      const { payload } = await jwtVerify(jwt, signer.publicKey, {
        ...expected,
        algorithms: [signer.algorithm],
      })
      const access = payload.access as { name: string; actions: string[] }[]
      if (!access.some(({ name, actions }) => name === repository && actions.includes('pull')))
        throw new Error()
      response
        .writeHead(digest === BLOB ? 200 : 404, digest === BLOB ? { 'content-length': BLOB_BYTES } : {})
        .end()
    } catch {
      response.writeHead(401, { 'www-authenticate': 'Bearer realm="https://token.example"' }).end()
    }
  }
}

export const alwaysStatus =
  (status: number, headers: Record<string, string | number> = {}): Door =>
  (_, response) => {
    response.writeHead(status, headers).end()
  }
