import { PeerProtocolError } from '../errors.ts'
import { BLOCK_BYTES_FOREIGN, type BlockAddress, type Message } from './messages.ts'

/**
 * Frames that change nothing for either side, per connection: keep-alives, repeats, flipping interest, late cancels,
 * unknown messages. Honest peers send a few; one that continues wants to use up this node's time.
 */
const IDLE_FRAMES_MAX = 2_000
/**
 * More of them for each piece of the blob: a cancel or two, batches that another peer had sent before, and their
 * pieces announced again. Six honest nodes that fetched 96 pieces together used at most 9 for each piece.
 */
const IDLE_FRAMES_PER_PIECE = 64
/** Refilled each second: BEP 3 has a keep-alive in two minutes and a choke in ten seconds. */
const IDLE_FRAMES_PER_SECOND = 10
/**
 * Refilled for each block of 16 KiB or more that is served or received: a peer that moves pieces also cancels some.
 */
const IDLE_FRAMES_PER_BLOCK = 4
/** A choke costs the window of requests that it ends, a reject the piece that moves to another peer. */
const IDLE_FRAMES_PER_CHOKE = 64
/** A pull that is opened or closed on a link costs signatures to check. */
const IDLE_FRAMES_PER_PULL = 16
/** Longer messages take longer to read: they count as one frame for each of this many bytes. */
const IDLE_FRAME_BYTES = 64

/** What a connection pays for. */
type Paid = Message | { type: 'keep-alive' | 'pull' }

/** The allowance of one connection for frames that change nothing. Pure: the clock is passed in. */
export class FrameBudget {
  #max = IDLE_FRAMES_MAX
  #left = IDLE_FRAMES_MAX
  #refilledAtMs: number

  constructor(nowMs: number) {
    this.#refilledAtMs = nowMs
  }

  /** The connection is for one blob more; on a link between nodes, call once for each. */
  widen(pieceCount: number): this {
    this.#max += IDLE_FRAMES_PER_PIECE * pieceCount
    this.#left += IDLE_FRAMES_PER_PIECE * pieceCount
    return this
  }

  /**
   * @param pieceCount of the blob that the message concerns
   * @throws PeerProtocolError when nothing is left
   */
  spend(message: Paid, nowMs: number, pieceCount = 0): void {
    const refilled = ((nowMs - this.#refilledAtMs) / 1000) * IDLE_FRAMES_PER_SECOND
    this.#refilledAtMs = nowMs
    this.#left = Math.min(this.#max, this.#left + refilled) - costOf(message, pieceCount)
    if (this.#left < 0) throw new PeerProtocolError('too many messages that change nothing')
  }

  /** A block was served or received. */
  moved({ length }: BlockAddress): void {
    if (length < BLOCK_BYTES_FOREIGN) return
    this.#left = Math.min(this.#max, this.#left + IDLE_FRAMES_PER_BLOCK)
  }
}

function costOf(message: Paid, pieceCount: number): number {
  switch (message.type) {
    case 'choke':
    case 'reject':
      return IDLE_FRAMES_PER_CHOKE
    case 'pull':
      return IDLE_FRAMES_PER_PULL
    case 'bitfield':
    case 'have-all':
      return pieceCount
    case 'extended':
      return 1 + message.payload.length / IDLE_FRAME_BYTES
    default:
      return 1
  }
}
