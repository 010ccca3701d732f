import { EventEmitter, once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { encodeBencode } from '../../core/bencode.ts'

/**
 * A minimal tracker that tells aria2 its peers (BEP 3, BEP 23), for peers on 127.0.0.1. A caller is told of all
 * earlier callers.
 */
export interface AnnounceServer {
  readonly url: string
  /** Resolves with the next announce for a torrent. */
  announced(infoHash: Buffer): Promise<void>
  /** Forgets all peers of a torrent but the first, which is the holder. */
  forgetDownloaders(infoHash: Buffer): void
  close(): Promise<void>
}

/** Announce interval: longer than any transfer. */
const INTERVAL_SECONDS = 3600
const LOOPBACK = [127, 0, 0, 1]

export async function startAnnounceServer(): Promise<AnnounceServer> {
  const swarms = new Map<string, Set<number>>()
  const announces = new EventEmitter()
  const server = createServer((request, response) => {
    const query = queryOf(request.url ?? '')
    const id = query.get('info_hash')?.toString('hex') ?? ''
    response.end(answerAnnounce(swarms, id, query))
    announces.emit(id)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/announce`,
    async announced(infoHash) {
      await once(announces, infoHash.toString('hex'))
    },
    forgetDownloaders(infoHash) {
      const id = infoHash.toString('hex')
      swarms.set(id, new Set([...(swarms.get(id) ?? [])].slice(0, 1)))
    },
    close: () => closeServer(server),
  }
}

function answerAnnounce(swarms: Map<string, Set<number>>, id: string, query: Map<string, Buffer>): Buffer {
  const port = Number(query.get('port')?.toString())
  const ports = swarms.get(id) ?? new Set()
  const others = [...ports].filter((other) => other !== port)
  // The set keeps its order, so the holder stays first when it announces again.
  swarms.set(id, query.get('event')?.toString() === 'stopped' ? new Set(others) : ports.add(port))
  return encodeBencode({ interval: INTERVAL_SECONDS, peers: Buffer.concat(others.map(compactPeer)) })
}

function compactPeer(port: number): Buffer {
  return Buffer.from([...LOOPBACK, port >> 8, port & 0xff])
}

/** The info-hash is 20 arbitrary bytes: URLSearchParams would read them as UTF-8. */
function queryOf(url: string): Map<string, Buffer> {
  const text = url.slice(url.indexOf('?') + 1)
  return new Map(
    text.split('&').map((pair) => {
      const [name = '', value = ''] = pair.split('=')
      return [name, bytesOf(value)] as const
    }),
  )
}

function bytesOf(escaped: string): Buffer {
  const text = escaped.replace(/%([0-9a-f]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
  return Buffer.from(text, 'latin1')
}

async function closeServer(server: Server): Promise<void> {
  server.closeAllConnections()
  server.close()
  await once(server, 'close')
}
