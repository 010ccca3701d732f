import { generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { jwtVerify, SignJWT } from 'jose'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import { parseRegistryHost, type RegistryHost, type Repository } from '../../core/repository.ts'

/** A registry that serves blobs from files, whole or in ranges, to bearers of its own ES256 tokens. */
export interface BlobRegistry {
  readonly host: RegistryHost
  add(blob: { name: string; path: string; bytes: number }): void
  /** Bytes of the blob in answers so far, those to aborted requests included. */
  sentBytes(name: string): number
  /** Grants pull on REPOSITORY; no two tokens are the same. */
  issueToken(): Promise<string>
  /** The keys that verify its tokens, as in a registry's configuration. */
  readonly tokenKeys: TokenKeysAnswer
  close(): Promise<void>
}

export const REPOSITORY = 'bench/layers' as Repository
const ISSUER = 'benchmark token server'
const AUDIENCE = 'benchmark registry'
const TOKEN_LIFE = '15 minutes'
const BLOB_PATH = new RegExp(`^/v2/${REPOSITORY}/blobs/sha256:([0-9a-f]{64})$`)
const READ_BYTES = 256 * 1024

export interface TokenKeysAnswer {
  issuer: string
  audience: string
  /** RFC 7517 §5. */
  jwks: string
}

interface Blob {
  path: string
  bytes: number
  sentBytes: number
}

export async function startBlobRegistry(tls: KeyedCertificate): Promise<BlobRegistry> {
  const blobs = new Map<string, Blob>()
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const server = createServer({ cert: tls.certificatePem, key: tls.privateKeyPem }, (request, response) => {
    answer({ blobs, publicKey, request, response }).catch((error: Error) => response.destroy(error))
  })
  server.listen(0, 'localhost')
  await once(server, 'listening')
  return {
    host: parseRegistryHost(`localhost:${(server.address() as AddressInfo).port}`),
    add: ({ name, path, bytes }) => void blobs.set(name, { path, bytes, sentBytes: 0 }),
    sentBytes: (name) => blobs.get(name)?.sentBytes ?? 0,
    issueToken: () => issueToken(publicKey, privateKey),
    tokenKeys: {
      issuer: ISSUER,
      audience: AUDIENCE,
      jwks: JSON.stringify({ keys: [publicKey.export({ format: 'jwk' })] }),
    },
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

/** Claims by Distribution's token specification; the key is in the header, as from its token server. */
function issueToken(publicKey: KeyObject, privateKey: KeyObject): Promise<string> {
  const access = [{ type: 'repository', name: REPOSITORY, actions: ['pull'] }]
  return new SignJWT({ access })
    .setProtectedHeader({ typ: 'JWT', alg: 'ES256', jwk: publicKey.export({ format: 'jwk' }) })
    .setIssuer(ISSUER)
    .setAudience(AUDIENCE)
    .setSubject('benchmark')
    .setJti(randomUUID())
    .setIssuedAt()
    .setExpirationTime(TOKEN_LIFE)
    .sign(privateKey)
}

interface Exchange {
  blobs: Map<string, Blob>
  publicKey: KeyObject
  request: IncomingMessage
  response: ServerResponse
}

async function answer({ blobs, publicKey, request, response }: Exchange): Promise<void> {
  if (!(await isAllowed(request, publicKey))) {
    const challenge = { 'www-authenticate': 'Bearer realm="https://token.invalid"' }
    return void response.writeHead(401, challenge).end()
  }
  const blob = blobs.get(BLOB_PATH.exec(request.url ?? '')?.[1] ?? '')
  if (!blob) return void response.writeHead(404).end()
  sendBlob(blob, request, response)
}

async function isAllowed(request: IncomingMessage, publicKey: KeyObject): Promise<boolean> {
  const jwt = request.headers.authorization?.replace(/^Bearer /, '') ?? ''
  const expected = { issuer: ISSUER, audience: AUDIENCE, algorithms: ['ES256'] }
  return jwtVerify(jwt, publicKey, expected).then(
    () => true,
    () => false,
  )
}

/** RFC 9110 §14: one range of bytes, which may be open at its end. */
function sendBlob(blob: Blob, request: IncomingMessage, response: ServerResponse): void {
  const { path, bytes } = blob
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
  const start = Number(range?.[1] ?? 0)
  const end = Math.min(bytes, Number(range?.[2] || bytes - 1) + 1)
  response.writeHead(range ? 206 : 200, {
    'content-length': end - start,
    ...(range && { 'content-range': `bytes ${start}-${end - 1}/${bytes}` }),
  })
  if (request.method === 'HEAD') return void response.end()
  createReadStream(path, { start, end: end - 1, highWaterMark: READ_BYTES })
    .on('data', (chunk) => {
      blob.sentBytes += chunk.length
    })
    .pipe(response)
}
