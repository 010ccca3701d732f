import { PeerProtocolError } from '../errors.ts'

/**
 * Peer wire messages: BEP 3, the fast extension (BEP 6), the extension protocol (BEP 10). A frame is a 4-byte
 * big-endian body length, then the body: one byte of message id and the payload.
 */
export type Message =
  | { type: 'choke' | 'unchoke' | 'interested' | 'not-interested' | 'have-all' | 'have-none' }
  | { type: 'have' | 'suggest' | 'allowed-fast'; piece: number }
  | { type: 'bitfield'; bits: Buffer }
  | ({ type: 'request' | 'cancel' | 'reject' } & BlockAddress)
  | { type: 'extended'; extension: number; payload: Buffer }
  | { type: 'unknown'; id: number }

/** A block: `length` bytes at `begin` within `piece`. */
export interface BlockAddress {
  piece: number
  begin: number
  length: number
}

/** Blocks between Shoal peers. TLS records are 16 KiB at most, so larger blocks bring nothing. */
export const BLOCK_BYTES_MAX = 128 * 1024
/** Blocks with peers that announce no size (BEP 3's customary size; libtorrent rejects larger ones). */
export const BLOCK_BYTES_FOREIGN = 16 * 1024
/** Bound of a frame's body: a block and its header, or a hash batch of 4,096 hashes (128 KiB) and its envelope. */
export const FRAME_BYTES_MAX = BLOCK_BYTES_MAX + 8 * 1024

const IDS = {
  choke: 0,
  unchoke: 1,
  interested: 2,
  'not-interested': 3,
  have: 4,
  bitfield: 5,
  request: 6,
  piece: 7,
  cancel: 8,
  suggest: 13,
  'have-all': 14,
  'have-none': 15,
  reject: 16,
  'allowed-fast': 17,
  extended: 20,
} as const

const TYPES = new Map<number, keyof typeof IDS>(
  Object.entries(IDS).map(([type, id]) => [id, type as keyof typeof IDS]),
)

export const PIECE_MESSAGE_ID = IDS.piece
/** Frame length (4), id (1), piece (4), begin (4): the bytes before a block in its frame. */
export const BLOCK_HEADER_BYTES = 13

export function encodeMessage(message: Exclude<Message, { type: 'unknown' }>): Buffer {
  const body = Buffer.allocUnsafe(4 + bodyBytes(message))
  body.writeUInt32BE(body.length - 4, 0)
  body[4] = IDS[message.type]
  switch (message.type) {
    case 'have':
    case 'suggest':
    case 'allowed-fast':
      body.writeUInt32BE(message.piece, 5)
      break
    case 'request':
    case 'cancel':
    case 'reject':
      body.writeUInt32BE(message.piece, 5)
      body.writeUInt32BE(message.begin, 9)
      body.writeUInt32BE(message.length, 13)
      break
    case 'bitfield':
      message.bits.copy(body, 5)
      break
    case 'extended':
      body[5] = message.extension
      message.payload.copy(body, 6)
      break
  }
  return body
}

function bodyBytes(message: Exclude<Message, { type: 'unknown' }>): number {
  switch (message.type) {
    case 'have':
    case 'suggest':
    case 'allowed-fast':
      return 5
    case 'request':
    case 'cancel':
    case 'reject':
      return 13
    case 'bitfield':
      return 1 + message.bits.length
    case 'extended':
      return 2 + message.payload.length
    default:
      return 1
  }
}

/** Writes the bytes before a block into the first 13 bytes of `target`, so that both go out in one write. */
export function writeBlockHeader(target: Buffer, block: BlockAddress): void {
  target.writeUInt32BE(9 + block.length, 0)
  target[4] = IDS.piece
  target.writeUInt32BE(block.piece, 5)
  target.writeUInt32BE(block.begin, 9)
}

/**
 * Decodes the body of any frame but a `piece` (the reader streams those).
 * @throws PeerProtocolError when the payload does not have its message's length
 */
export function decodeMessage(body: Buffer): Message {
  const type = TYPES.get(body[0]!)
  switch (type) {
    case 'choke':
    case 'unchoke':
    case 'interested':
    case 'not-interested':
    case 'have-all':
    case 'have-none':
      expectLength(body, 1)
      return { type }
    case 'have':
    case 'suggest':
    case 'allowed-fast':
      expectLength(body, 5)
      return { type, piece: body.readUInt32BE(1) }
    case 'request':
    case 'cancel':
    case 'reject':
      expectLength(body, 13)
      return { type, piece: body.readUInt32BE(1), begin: body.readUInt32BE(5), length: body.readUInt32BE(9) }
    case 'bitfield':
      return { type, bits: body.subarray(1) }
    case 'extended':
      if (body.length < 2) throw new PeerProtocolError('an extended message without its id')
      return { type, extension: body[1]!, payload: body.subarray(2) }
    default:
      // BEP 3 and 10 leave room for other messages; every client ignores them.
      return { type: 'unknown', id: body[0]! }
  }
}

function expectLength(body: Buffer, length: number): void {
  if (body.length !== length) throw new PeerProtocolError(`message ${body[0]} has ${body.length} bytes`)
}
