import { BoundedMap } from '../../core/bounded-map.ts'
import { TokenBucket } from '../token-bucket.ts'

/**
 * Bounds of strangers' TLS handshakes. Each takes about 1.5 ms of the one thread that also answers heartbeats. One network may
 * take about 6 % of it, all together 25 %. If 1,000 nodes behind one address join at once, they are done in 25 s.
 */
export const HANDSHAKES_PER_SECOND_MAX = 40
export const HANDSHAKES_BURST_MAX = 80
export const ALL_HANDSHAKES_PER_SECOND_MAX = 160
export const ALL_HANDSHAKES_BURST_MAX = 320
/** Bounds of one member's handshakes that do not count for its network: it keeps connections, and seldom opens new ones. */
const MEMBER_HANDSHAKES_PER_SECOND_MAX = 2
/** The same at once. */
const MEMBER_HANDSHAKES_BURST_MAX = 16
/** Bound of remembered networks and members; a forgotten one starts with a full budget. */
const REMEMBERED_MAX = 20_000

/** How many handshakes may begin. A member's is given back once its certificate is known. */
export class HandshakeBudget {
  readonly #all = new TokenBucket(
    { perSecond: ALL_HANDSHAKES_PER_SECOND_MAX, burst: ALL_HANDSHAKES_BURST_MAX },
    0,
  )
  readonly #networks = new BoundedMap<string, TokenBucket>(REMEMBERED_MAX)
  readonly #members = new BoundedMap<string, TokenBucket>(REMEMBERED_MAX)

  take(network: string, nowMs: number): boolean {
    const own = this.#networks.get(network) ?? bucketOfNetwork(nowMs)
    this.#networks.set(network, own)
    if (!own.take(nowMs)) return false
    if (this.#all.take(nowMs)) return true
    own.giveBack()
    return false
  }

  giveBack(network: string, member: string, nowMs: number): void {
    const own = this.#members.get(member) ?? bucketOfMember(nowMs)
    this.#members.set(member, own)
    if (!own.take(nowMs)) return
    this.#networks.get(network)?.giveBack()
    this.#all.giveBack()
  }
}

function bucketOfNetwork(nowMs: number): TokenBucket {
  return new TokenBucket({ perSecond: HANDSHAKES_PER_SECOND_MAX, burst: HANDSHAKES_BURST_MAX }, nowMs)
}

function bucketOfMember(nowMs: number): TokenBucket {
  const bounds = { perSecond: MEMBER_HANDSHAKES_PER_SECOND_MAX, burst: MEMBER_HANDSHAKES_BURST_MAX }
  return new TokenBucket(bounds, nowMs)
}
