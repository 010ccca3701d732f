import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer, type TLSSocket } from 'node:tls'
import { FrameReader } from '../../client/wire/frame-reader.ts'
import { encodeHandshake } from '../../client/wire/handshake.ts'
import {
  BLOCK_HEADER_BYTES,
  type BlockAddress,
  encodeMessage,
  type Message,
  writeBlockHeader,
} from '../../client/wire/messages.ts'
import { enrol, extensionHandshake, type Member, type Surroundings, swarmOf } from '../attacks/attacker.ts'
import { loot } from '../attacks/loot.ts'
import type { TestBlob } from './test-cluster.ts'

/** How a hostile uploader treats who dials it. */
export type Behaviour =
  /** Sends each block as a frame with the right header, and its bytes one a second. */
  | 'trickle'
  /** Offers everything, takes requests and never answers. */
  | 'silent'
  /** Offers everything, sends the first piece as fast as it can and rejects requests for any other. */
  | 'first-piece'
  /** Offers everything and answers every request with a reject (BEP 6). */
  | 'reject'
  /** Finishes TLS and says nothing. */
  | 'mute'
  /** Finishes TLS and closes the connection. */
  | 'hang-up'
  /** Accepts the TCP connection and never begins TLS. */
  | 'no-tls'

export interface HostileUploader {
  /** Connections whose TLS handshake is through. */
  readonly connections: number
  /** Requests that it was sent. */
  readonly requests: number
  readonly node: Member['node']
  close(): Promise<void>
}

const TRICKLE_MS = 1_000
const BEAT_MS = 1_000

/**
 * A real member of the cluster with a real serve certificate, which the tracker lists as a seed of the blob. It keeps
 * beating, so that it stays listed.
 */
export async function startHostileUploader(
  cluster: Surroundings,
  blob: TestBlob,
  behaviour: Behaviour,
  listenHost = '127.0.0.1',
): Promise<HostileUploader> {
  const member = await enrol(cluster)
  const swarm = swarmOf(member, cluster, blob)
  const certificate = await member.serve(9)
  const open = new Set<{ destroy(): void }>()
  const timers = new Set<NodeJS.Timeout>()
  const state = { connections: 0, requests: 0 }
  const server = createServer({
    cert: certificate.certificatePem,
    key: certificate.privateKeyPem,
    ca: member.authorities,
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
  })
  server.on('tlsClientError', () => undefined)
  server.on('connection', (socket) => {
    open.add(socket)
    socket.on('error', () => undefined)
    // Whoever takes no bytes out of the socket never sees the ClientHello.
    if (behaviour === 'no-tls') socket.pause()
  })
  server.on('secureConnection', (socket: TLSSocket) => {
    state.connections += 1
    open.add(socket)
    socket.on('error', () => undefined)
    if (behaviour === 'hang-up') socket.destroy()
    else socket.on('data', readerOf(socket).push)
  })

  function readerOf(socket: TLSSocket) {
    const reader = new FrameReader({
      onKeepAlive: () => undefined,
      onHandshake() {
        if (behaviour === 'mute') return
        socket.write(encodeHandshake({ swarm, peer: member.node, hasFast: true, hasExtensions: true }))
        socket.write(extensionHandshake())
        socket.write(encodeMessage({ type: 'have-all' }))
        socket.write(encodeMessage({ type: 'unchoke' }))
      },
      onMessage: (message: Message) => void (message.type === 'request' && answer(socket, message)),
      onBlockStart: ({ length }) => {
        loot.bytes += length
        return undefined
      },
      onBlockEnd: () => undefined,
    })
    return { push: (chunk: Buffer) => reader.push(chunk) }
  }

  function answer(socket: TLSSocket, { piece, begin, length }: BlockAddress): void {
    state.requests += 1
    if (behaviour === 'reject') socket.write(encodeMessage({ type: 'reject', piece, begin, length }))
    if (behaviour === 'first-piece' && piece === 0) sendBlock(socket, { piece, begin, length })
    else if (behaviour === 'first-piece')
      socket.write(encodeMessage({ type: 'reject', piece, begin, length }))
    if (behaviour === 'trickle') trickle(socket, { piece, begin, length })
  }

  function sendBlock(socket: TLSSocket, block: BlockAddress): void {
    const header = Buffer.alloc(BLOCK_HEADER_BYTES)
    writeBlockHeader(header, block)
    socket.write(header)
    socket.write(blob.bytes.subarray(block.begin, block.begin + block.length))
  }

  /** The first request only: an answer must be whole before the next may begin. */
  function trickle(socket: TLSSocket, block: BlockAddress): void {
    if (state.requests > 1 && timers.size > 1) return
    const header = Buffer.alloc(BLOCK_HEADER_BYTES)
    writeBlockHeader(header, block)
    socket.write(header)
    const at = block.piece * 256 * 1024 + block.begin
    let sent = 0
    const timer = setInterval(() => {
      if (socket.destroyed || sent === block.length) return void clearInterval(timer)
      socket.write(blob.bytes.subarray(at + sent, at + sent + 1))
      sent += 1
    }, TRICKLE_MS)
    timers.add(timer)
  }

  server.listen(0, listenHost)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await member.serve(port, [swarm])
  timers.add(setInterval(() => void member.serve(port, [swarm]).catch(() => undefined), BEAT_MS))
  return {
    node: member.node,
    get connections() {
      return state.connections
    },
    get requests() {
      return state.requests
    },
    async close() {
      for (const timer of timers) clearInterval(timer)
      for (const socket of open) socket.destroy()
      server.close()
      await member.tracker.close()
    },
  }
}
