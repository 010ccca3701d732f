import { PeerProtocolError } from '../errors.ts'
import { BLOCK_BYTES_FOREIGN, type BlockAddress, type Message } from './messages.ts'

/**
 * Frames that change nothing for either side, per connection: keep-alives, repeats, interest that flips, cancels that
 * come too late, messages that nobody here knows. Honest peers send a few; one that goes on is after this node's time.
 */
const IDLE_FRAMES_MAX = 2_000
/**
 * More of them for each piece of the blob: a cancel or two, batches that another peer had sent before, and their pieces
 * announced anew. Honest nodes, six that fetched 96 pieces together, spent 9 of them for each piece at most.
 */
const IDLE_FRAMES_PER_PIECE = 64
/** Allowed anew each second: BEP 3 has a keep-alive in two minutes and a choke in ten seconds. */
const IDLE_FRAMES_PER_SECOND = 10
/** Allowed anew for each block of 16 KiB or more that is served or taken: whoever moves pieces also cancels some. */
const IDLE_FRAMES_PER_BLOCK = 4
/** A choke costs the window of requests that it ends, a reject the piece that is asked of another peer. */
const IDLE_FRAMES_PER_CHOKE = 64
/** Longer messages take longer to look into: counted as one frame for each so many bytes. */
const IDLE_FRAME_BYTES = 64

/**
 * What one connection may still send that changes nothing. Pure: the clock is passed in.
 */
export class FrameBudget {
  readonly #pieceCount: number
  readonly #max: number
  #left: number
  #refilledAtMs: number

  constructor(pieceCount: number, nowMs: number) {
    this.#pieceCount = pieceCount
    this.#max = IDLE_FRAMES_MAX + IDLE_FRAMES_PER_PIECE * pieceCount
    this.#left = this.#max
    this.#refilledAtMs = nowMs
  }

  /** @throws PeerProtocolError when nothing is left */
  spend(message: Message | { type: 'keep-alive' }, nowMs: number): void {
    const refilled = ((nowMs - this.#refilledAtMs) / 1000) * IDLE_FRAMES_PER_SECOND
    this.#refilledAtMs = nowMs
    this.#left = Math.min(this.#max, this.#left + refilled) - this.#costOf(message)
    if (this.#left < 0) throw new PeerProtocolError('messages without end that change nothing')
  }

  /** A block was served or taken. */
  moved({ length }: BlockAddress): void {
    if (length < BLOCK_BYTES_FOREIGN) return
    this.#left = Math.min(this.#max, this.#left + IDLE_FRAMES_PER_BLOCK)
  }

  #costOf(message: Message | { type: 'keep-alive' }): number {
    switch (message.type) {
      case 'choke':
      case 'reject':
        return IDLE_FRAMES_PER_CHOKE
      case 'bitfield':
      case 'have-all':
        return this.#pieceCount
      case 'extended':
        return 1 + message.payload.length / IDLE_FRAME_BYTES
      default:
        return 1
    }
  }
}
