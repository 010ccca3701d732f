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
/** On a link between nodes (docs/protocol.md), the swarm's number follows the id of every message. */
export const SWARM_NUMBER_BYTES = 4
/** The bytes before a block in a frame of a link. */
export const LINK_BLOCK_HEADER_BYTES = BLOCK_HEADER_BYTES + SWARM_NUMBER_BYTES
/** The number of messages that concern the link itself. */
export const LINK_NUMBER = 0

/** A message that can be sent. */
export type SentMessage = Exclude<Message, { type: 'unknown' }>

/** @param swarm its number, on a link between nodes */
export function encodeMessage(message: SentMessage, swarm?: number): Buffer {
  const at = swarm === undefined ? 5 : 5 + SWARM_NUMBER_BYTES
  const frame = Buffer.allocUnsafe(at - 1 + bodyBytes(message))
  frame.writeUInt32BE(frame.length - 4, 0)
  frame[4] = IDS[message.type]
  if (swarm !== undefined) frame.writeUInt32BE(swarm, 5)
  switch (message.type) {
    case 'have':
    case 'suggest':
    case 'allowed-fast':
      frame.writeUInt32BE(message.piece, at)
      break
    case 'request':
    case 'cancel':
    case 'reject':
      frame.writeUInt32BE(message.piece, at)
      frame.writeUInt32BE(message.begin, at + 4)
      frame.writeUInt32BE(message.length, at + 8)
      break
    case 'bitfield':
      message.bits.copy(frame, at)
      break
    case 'extended':
      frame[at] = message.extension
      message.payload.copy(frame, at + 1)
      break
  }
  return frame
}

function bodyBytes(message: SentMessage): number {
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

/**
 * Writes the bytes before a block to the start of `target`, so that both go out in one write.
 * @param swarm its number, on a link between nodes
 * @returns how many bytes they are
 */
export function writeBlockHeader(target: Buffer, block: BlockAddress, swarm?: number): number {
  const at = swarm === undefined ? 5 : 5 + SWARM_NUMBER_BYTES
  target.writeUInt32BE(at + 4 + block.length, 0)
  target[4] = IDS.piece
  if (swarm !== undefined) target.writeUInt32BE(swarm, 5)
  target.writeUInt32BE(block.piece, at)
  target.writeUInt32BE(block.begin, at + 4)
  return at + 8
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
