import { createReadStream, readFileSync, statSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import { pipeline } from 'node:stream'
import { isDigest } from '../../core/digest.ts'
import { storedBlobFile } from './stored-blob.ts'

/**
 * An object store beside the registry: serves the blobs of its storage folder to every caller that knows the URL.
 * Like real ones, it refuses a request with another credential. Argument: a file with its options, as JSON. Standard
 * output is an access log in the Combined Log Format, like the registry's.
 */

export interface StorageOptions {
  listenPort: number
  /** Distribution's `rootdirectory`. */
  storageDir: string
  tls: { certificatePem: string; privateKeyPem: string }
}

const { listenPort, storageDir, tls } = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as StorageOptions
const NOT_FOUND = { status: 404 }

createServer({ cert: tls.certificatePem, key: tls.privateKeyPem }, (request, response) => {
  let bytes = 0
  response.once('close', () => log(request, response, bytes))
  if (request.headers.authorization !== undefined) return void response.writeHead(400).end()
  const { status, file, from = 0, to = 0, blobBytes = 0 } = partFor(request)
  if (file === undefined) return void response.writeHead(status).end()
  const range = status === 206 ? { 'content-range': `bytes ${from}-${to - 1}/${blobBytes}` } : {}
  response.writeHead(status, { 'content-length': to - from, ...range })
  if (request.method === 'HEAD') return void response.end()
  const body = createReadStream(file, { start: from, end: to - 1 })
  body.on('data', (chunk) => {
    bytes += chunk.length
  })
  pipeline(body, response, () => undefined)
}).listen(listenPort, '0.0.0.0')

interface Part {
  status: number
  file?: string
  /** Bytes [from, to) of the blob. */
  from?: number
  to?: number
  blobBytes?: number
}

function partFor({ url = '', headers }: IncomingMessage): Part {
  const [, digest = ''] = /\/blobs\/([^/?]+)$/.exec(url) ?? []
  if (!isDigest(digest)) return NOT_FOUND
  const file = storedBlobFile(storageDir, digest)
  const blobBytes = statSync(file, { throwIfNoEntry: false })?.size
  if (blobBytes === undefined) return NOT_FOUND
  const [, from, last] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? []
  if (from === undefined) return { status: 200, file, from: 0, to: blobBytes, blobBytes }
  return { status: 206, file, from: Number(from), to: Math.min(Number(last) + 1, blobBytes), blobBytes }
}

function log(
  { method, url, httpVersion, socket, headers }: IncomingMessage,
  { statusCode }: ServerResponse,
  bytes: number,
) {
  const line = `"${method} ${url} HTTP/${httpVersion}" ${statusCode} ${bytes} "" "${headers['user-agent'] ?? ''}"`
  process.stdout.write(`${socket.remoteAddress} - - [${new Date().toISOString()}] ${line}\n`)
}
