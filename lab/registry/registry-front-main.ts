import { readFileSync } from 'node:fs'
import {
  request as ask,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type ServerResponse,
} from 'node:http'
import { request as askSecurely, createServer } from 'node:https'
import type { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { pipeline } from 'node:stream'
import type { FrontOptions, FrontOrder, RegistryManners } from './registry-front.ts'

/**
 * The front as a process: it must be in the registry's network namespace. Argument: a file with its options, as JSON.
 * Each line on standard input is an order; it is repeated on standard output once it is carried out.
 */
const { listenPort, registryPort, storageOrigin, tls, tokenServer } = JSON.parse(
  readFileSync(process.argv[2]!, 'utf8'),
) as FrontOptions
const BLOB_PATH = /^\/v2\/.+\/blobs\/sha256:[0-9a-f]{64}$/
const sockets = new Set<Socket>()
let manners: RegistryManners = {}

const server = createServer(
  { cert: tls.certificatePem, key: tls.privateKeyPem },
  (request: IncomingMessage, response: ServerResponse) => {
    if (tokenServer !== undefined && request.url?.startsWith('/token'))
      return passToTokenServer(request, response)
    const isBlob = BLOB_PATH.test(request.url ?? '') && ['GET', 'HEAD'].includes(request.method ?? '')
    const isRedirected = isBlob && manners.redirectsBlobs === true
    const upstream = ask(
      {
        ...{ host: '127.0.0.1', port: registryPort, path: request.url },
        method: isRedirected ? 'HEAD' : request.method,
        headers: headersFor(request, isRedirected || manners.ignoresRange === true),
      },
      (answer) => {
        if (isRedirected && answer.statusCode === 200) {
          answer.resume()
          return void response.writeHead(307, { location: `${storageOrigin}${request.url}` }).end()
        }
        response.writeHead(answer.statusCode ?? 502, answer.headers)
        pipeline(answer, response, () => undefined)
      },
    )
    upstream.once('error', () => response.destroy())
    response.once('close', () => upstream.destroy())
    pipeline(request, upstream, () => undefined)
  },
)
server.on('connection', (socket: Socket) => {
  sockets.add(socket)
  socket.once('close', () => sockets.delete(socket))
})
server.on('tlsClientError', () => undefined)
server.listen(listenPort, '0.0.0.0')

createInterface({ input: process.stdin }).on('line', (line) => {
  const order = JSON.parse(line) as FrontOrder
  if (order.manners) manners = order.manners
  if (order.isHangingUp) for (const socket of sockets) socket.destroy()
  process.stdout.write(`${line}\n`)
})

function passToTokenServer(request: IncomingMessage, response: ServerResponse): void {
  const { host, port, authorityPem } = tokenServer!
  const { url, method, headers } = request
  const upstream = askSecurely({ host, port, ca: authorityPem, path: url, method, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers)
    pipeline(answer, response, () => undefined)
  })
  upstream.once('error', () => response.destroy())
  pipeline(request, upstream, () => undefined)
}

/** Without the token, the registry answers with its challenge, as it does for an expired one. */
function headersFor({ headers }: IncomingMessage, isWhole: boolean): OutgoingHttpHeaders {
  const passed: OutgoingHttpHeaders = { ...headers, 'x-forwarded-proto': 'https' }
  if (isWhole) delete passed.range
  if (manners.isStrictAboutTime && isTokenOver(headers.authorization)) delete passed.authorization
  return passed
}

function isTokenOver(authorization: string | undefined): boolean {
  const [, claims = ''] = /^Bearer [^.]+\.([^.]+)\./.exec(authorization ?? '') ?? []
  if (claims === '') return false
  const { exp } = JSON.parse(Buffer.from(claims, 'base64url').toString()) as { exp: number }
  return exp * 1000 < Date.now()
}
