import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type Server, type TLSSocket } from 'node:tls'
import { FrameReader, type FrameSink } from '../../client/wire/frame-reader.ts'
import { encodeHandshake, type Handshake } from '../../client/wire/handshake.ts'
import {
  type BlockAddress,
  encodeMessage,
  type Message,
  writeBlockHeader,
} from '../../client/wire/messages.ts'
import type { InfoHash, NodeId, PieceLayout } from '../../core/metainfo.ts'
import type { StockClient } from './stock-client.ts'

/** What every client speaks, and no more: BEP 3, without the fast extension and the extension protocol. */
export class Bep3Peer implements FrameSink {
  handshake: Handshake | undefined
  readonly messages: Message[] = []
  readonly blocks = new Map<string, Buffer>()
  isClosed = false
  readonly #socket: TLSSocket
  readonly #onMessageOf: (message: Message, peer: Bep3Peer) => void
  #arriving: Buffer | undefined

  constructor(
    socket: TLSSocket,
    infoHash: InfoHash,
    onMessage: (message: Message, peer: Bep3Peer) => void = () => undefined,
  ) {
    this.#socket = socket
    this.#onMessageOf = onMessage
    const reader = new FrameReader(this)
    socket.on('data', (chunk: Buffer) => reader.push(chunk))
    socket.on('error', () => undefined)
    socket.on('close', () => {
      this.isClosed = true
    })
    const peer = Buffer.from('-XX0001-abcdefghijkl').toString('hex') as NodeId
    socket.write(encodeHandshake({ swarm: infoHash, peer, hasFast: false, hasExtensions: false }))
  }

  send(message: Exclude<Message, { type: 'unknown' }>): void {
    this.#socket.write(encodeMessage(message))
  }

  sendBlock(block: BlockAddress, bytes: Buffer): void {
    const frame = Buffer.concat([Buffer.alloc(13), bytes])
    writeBlockHeader(frame, block)
    this.#socket.write(frame)
  }

  close(): void {
    this.#socket.destroy()
  }

  onHandshake(handshake: Handshake): void {
    this.handshake = handshake
  }

  onMessage(message: Message): void {
    this.messages.push(message)
    this.#onMessageOf(message, this)
  }

  onBlockStart({ piece, begin, length }: BlockAddress): Uint8Array {
    this.#arriving = Buffer.alloc(length)
    this.blocks.set(`${piece} ${begin}`, this.#arriving)
    return this.#arriving
  }

  onBlockEnd(): void {}

  onKeepAlive(): void {}
}

interface Terms {
  client: StockClient
  infoHash: InfoHash
  authorityPem: string
}

/** A peer that a node presents its certificate to, and that verifies it: the authority is the torrent's. */
export async function dialAsBep3(port: number, { client, infoHash, authorityPem }: Terms): Promise<Bep3Peer> {
  const socket = connect({
    port,
    host: '127.0.0.1',
    servername: infoHash,
    ca: authorityPem,
    cert: readFileSync(client.certificate),
    key: readFileSync(client.key),
    // Serve certificates are for `*`, which stands for every torrent here as in libtorrent.
    checkServerIdentity: (_, { subjectaltname }) =>
      subjectaltname?.includes('DNS:*') ? undefined : new Error('not a serve certificate'),
  })
  await once(socket, 'secureConnect')
  return new Bep3Peer(socket, infoHash)
}

/** A seeder: bitfield, unchoke to who is interested, and blocks of at most 16 KiB. */
export async function seedAsBep3(
  { client, infoHash, authorityPem }: Terms,
  { bytes, layout }: { bytes: Buffer; layout: PieceLayout },
): Promise<{ server: Server; port: number; requests: BlockAddress[] }> {
  const requests: BlockAddress[] = []
  const answer = (message: Message, peer: Bep3Peer) => {
    if (message.type === 'interested') peer.send({ type: 'unchoke' })
    if (message.type !== 'request') return
    requests.push(message)
    const from = message.piece * layout.pieceBytes + message.begin
    peer.sendBlock(message, bytes.subarray(from, from + message.length))
  }
  const server = createServer({
    ca: authorityPem,
    cert: readFileSync(client.certificate),
    key: readFileSync(client.key),
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
  })
  server.on('secureConnection', (socket) => {
    if ((socket as TLSSocket & { servername?: string }).servername !== infoHash) return void socket.destroy()
    const peer = new Bep3Peer(socket, infoHash, answer)
    peer.send({ type: 'bitfield', bits: fullBitfield(layout.pieceCount) })
  })
  server.on('tlsClientError', () => undefined)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { server, port: (server.address() as AddressInfo).port, requests }
}

/** BEP 3: the first piece is the highest bit; spare bits are zero. */
export function fullBitfield(pieceCount: number): Buffer {
  const bits = Buffer.alloc(Math.ceil(pieceCount / 8))
  for (let piece = 0; piece < pieceCount; piece += 1) bits[piece >> 3]! |= 0x80 >> (piece & 7)
  return bits
}
