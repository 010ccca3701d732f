import { PeerProtocolError } from '../errors.ts'
import { decodeHandshake, HANDSHAKE_BYTES, type Handshake } from './handshake.ts'
import {
  BLOCK_HEADER_BYTES,
  type BlockAddress,
  decodeMessage,
  FRAME_BYTES_MAX,
  type Message,
  PIECE_MESSAGE_ID,
  SWARM_NUMBER_BYTES,
} from './messages.ts'

/**
 * Receives a reader's messages. Every function may throw to end the connection. `swarm` is the number of the swarm that a
 * message concerns, on a link between nodes; elsewhere 0.
 */
export interface FrameSink {
  onHandshake(handshake: Handshake): void
  onMessage(message: Message, swarm: number): void
  /** A frame without a body (BEP 3). */
  onKeepAlive(): void
  /**
   * A block begins. @returns where its bytes go (`block.length` of them), or undefined to drop them: a block that was
   * cancelled or came too late is no fault of its sender.
   */
  onBlockStart(block: BlockAddress, swarm: number): Uint8Array | undefined
  onBlockEnd(block: BlockAddress, swarm: number): void
}

/**
 * Turns a byte stream into messages. Invariant: at most one frame other than a block is held, and its length is
 * checked against FRAME_BYTES_MAX before any of it; a block's bytes are copied once, from the incoming chunk to the
 * sink's target.
 */
export class FrameReader {
  readonly #sink: FrameSink
  /** Start of a frame, a handshake or a small message, until it is complete. */
  #held: Buffer = Buffer.allocUnsafe(1024)
  #heldBytes = 0
  #isHandshaken = false
  #block: (BlockAddress & { target: Uint8Array | undefined; received: number; swarm: number }) | undefined
  /** Bytes between a message's id and its payload. */
  readonly #numberBytes: number

  /** @param options.isNumbered frames name their swarm, as on a link between nodes */
  constructor(sink: FrameSink, { isNumbered = false } = {}) {
    this.#sink = sink
    this.#numberBytes = isNumbered ? SWARM_NUMBER_BYTES : 0
  }

  /**
   * Takes the next bytes. `chunk` may be reused by the caller afterwards.
   * @throws PeerProtocolError and whatever the sink throws
   */
  push(chunk: Buffer): void {
    let offset = 0
    while (offset < chunk.length) {
      offset = this.#block ? this.#continueBlock(chunk, offset) : this.#continueFrame(chunk, offset)
    }
  }

  /** Drops the rest of the arriving block: its buffer is about to be reused. */
  discardBlock(): void {
    if (this.#block) this.#block.target = undefined
  }

  /** Size of the buffer that holds an incomplete frame. */
  get bufferBytes(): number {
    return this.#held.length
  }

  #continueBlock(chunk: Buffer, offset: number): number {
    const block = this.#block!
    const taken = Math.min(block.length - block.received, chunk.length - offset)
    if (block.target) chunk.copy(block.target, block.received, offset, offset + taken)
    block.received += taken
    if (block.received === block.length) {
      this.#block = undefined
      this.#sink.onBlockEnd(block, block.swarm)
    }
    return offset + taken
  }

  #continueFrame(chunk: Buffer, offset: number): number {
    const wanted = this.#wantedBytes()
    const taken = Math.min(wanted - this.#heldBytes, chunk.length - offset)
    this.#hold(chunk, offset, taken)
    if (this.#heldBytes === wanted) this.#advance(wanted)
    return offset + taken
  }

  /** Bytes to hold before the next decision: the handshake, the length, id and block header, or the whole frame. */
  #wantedBytes(): number {
    if (!this.#isHandshaken) return HANDSHAKE_BYTES
    if (this.#heldBytes < 4) return 4
    const bodyBytes = readBodyBytes(this.#held)
    if (this.#heldBytes < 5) return 4 + Math.min(1, bodyBytes)
    return this.#held[4] === PIECE_MESSAGE_ID ? this.#blockHeaderBytes : 4 + bodyBytes
  }

  #hold(chunk: Buffer, offset: number, bytes: number): void {
    if (this.#heldBytes + bytes > this.#held.length) {
      const grown = Buffer.allocUnsafe(4 + FRAME_BYTES_MAX)
      this.#held.copy(grown, 0, 0, this.#heldBytes)
      this.#held = grown
    }
    chunk.copy(this.#held, this.#heldBytes, offset, offset + bytes)
    this.#heldBytes += bytes
  }

  #advance(wanted: number): void {
    if (!this.#isHandshaken) {
      this.#isHandshaken = true
      this.#heldBytes = 0
      this.#sink.onHandshake(decodeHandshake(Buffer.from(this.#held.subarray(0, wanted))))
      return
    }
    const bodyBytes = readBodyBytes(this.#held)
    if (wanted === 4) {
      if (bodyBytes > 0) return
      this.#heldBytes = 0
      this.#sink.onKeepAlive()
    } else if (this.#held[4] === PIECE_MESSAGE_ID) {
      if (wanted === this.#blockHeaderBytes) this.#beginBlock(bodyBytes)
      else if (4 + bodyBytes <= this.#blockHeaderBytes) throw new PeerProtocolError('a block without bytes')
    } else if (wanted === 4 + bodyBytes) {
      this.#heldBytes = 0
      if (bodyBytes <= this.#numberBytes) throw new PeerProtocolError('a message that names no swarm')
      // A copy: the sink may keep payloads, and the held buffer is reused.
      const body = Buffer.from(this.#held.subarray(4 + this.#numberBytes, wanted))
      body[0] = this.#held[4]!
      this.#sink.onMessage(decodeMessage(body), this.#swarm)
    }
  }

  #beginBlock(bodyBytes: number): void {
    this.#heldBytes = 0
    const at = 5 + this.#numberBytes
    const address = {
      piece: this.#held.readUInt32BE(at),
      begin: this.#held.readUInt32BE(at + 4),
      length: 4 + bodyBytes - this.#blockHeaderBytes,
    }
    const swarm = this.#swarm
    this.#block = { ...address, target: this.#sink.onBlockStart(address, swarm), received: 0, swarm }
  }

  get #blockHeaderBytes(): number {
    return BLOCK_HEADER_BYTES + this.#numberBytes
  }

  /** The number in the held frame. */
  get #swarm(): number {
    return this.#numberBytes === 0 ? 0 : this.#held.readUInt32BE(5)
  }
}

/**
 * Reads the body length of the frame at the start of `frame` (BEP 3: 4 bytes, big-endian).
 * @returns bytes in the body; 0 is a keep-alive
 * @throws PeerProtocolError above FRAME_BYTES_MAX
 */
function readBodyBytes(frame: Buffer): number {
  const bodyBytes = frame.readUInt32BE(0)
  if (bodyBytes > FRAME_BYTES_MAX) throw new PeerProtocolError(`a frame of ${bodyBytes} bytes`)
  return bodyBytes
}
