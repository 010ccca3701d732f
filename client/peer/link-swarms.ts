import type { ShoalError } from '../../core/errors.ts'
import type { SwarmId } from '../../core/metainfo.ts'
import type { LinkTurns } from '../engine/link-turns.ts'
import { WINDOW_BYTES_MAX } from '../engine/request-window.ts'
import { PeerProtocolError } from '../errors.ts'
import type { Blocks } from '../membership/blocks.ts'
import type { FrameBudget } from '../wire/frame-budget.ts'
import { decodeSwarmMessage } from '../wire/link-messages.ts'
import { BLOCK_BYTES_FOREIGN, type BlockAddress, type Message } from '../wire/messages.ts'
import type { LinkAdmission } from './link-admission.ts'
import type { SharedHost } from './link-host.ts'
import type { LinkWriter } from './link-writer.ts'
import { ServedSwarm } from './served-swarm.ts'
import { type LinkOfSwarm, WantedSwarm } from './wanted-swarm.ts'

/** Swarms that the other side of a link may have open at a time: eight images of 128 layers. */
export const LINK_SWARMS_MAX = 1024
/** Bytes of closed swarms that may still arrive: this, and one window more for each swarm that this side closed. */
const STRAY_BYTES_MAX = WINDOW_BYTES_MAX

/** The link as its swarms see it. */
export interface LinkOfSwarms extends LinkOfSwarm {
  readonly writer: LinkWriter
  readonly turns: LinkTurns
  /** Where the other side is, if it dialled. */
  readonly network: string | undefined
  readonly remoteAddress: string | undefined
  /** Where the other side says that it accepts links. */
  readonly listenPort: number | undefined
  openNumber(number: number, swarm: SwarmId): void
  /** The other side accepts nothing any more. */
  onDead(): void
}

export interface LinkSwarmsOptions {
  /** The swarm with this id, if this node has something of it. */
  hostOf(swarm: SwarmId): SharedHost | undefined
  admission: Pick<LinkAdmission, 'opens' | 'isSettled'>
  budget: FrameBudget
  /** The other side's id for hash batches. */
  hashesId(): number
}

/**
 * The swarms on one link. Whoever wants to download numbers a swarm: the dialler with odd numbers, the acceptor with even
 * ones, each higher than the one before and never used twice. So both ends know whose a number is and which ones are over,
 * and nothing of one blob is taken for another's.
 */
export class LinkSwarms {
  readonly #link: LinkOfSwarms
  readonly #options: LinkSwarmsOptions
  readonly #wanted = new Map<number, WantedSwarm>()
  readonly #served = new Map<number, ServedSwarm>()
  /** Opened by the other side before its pull is settled. */
  readonly #pending = new Map<number, SwarmId>()
  /** Whose part of the budget was given once. */
  readonly #budgeted = new Set<SwarmId>()
  #nextNumber: number
  #lastNumber = 0
  #strayBytesLeft = STRAY_BYTES_MAX
  /** Number of the swarm whose block is arriving. */
  arriving: number | undefined
  movedAtMs = 0

  constructor(link: LinkOfSwarms, options: LinkSwarmsOptions) {
    this.#link = link
    this.#options = options
    this.#nextNumber = link.isDialler ? 1 : 2
  }

  /** Asks the other side for the swarm, under the host's pull. @returns false when the host has none any more */
  want(host: SharedHost): boolean {
    const grant = host.grant()
    if (grant === undefined) return false
    for (const wanted of this.#wanted.values()) if (wanted.host === host) return true
    this.#link.openPull(grant)
    const number = this.#nextNumber
    this.#nextNumber += 2
    this.#wanted.set(number, new WantedSwarm(this.#link, { number, host }))
    this.#link.openNumber(number, host.swarm)
    return true
  }

  /** This side downloads a blob under this pull. */
  wants(pull: string): boolean {
    return this.hosts.some((host) => host.grant()?.pull === pull)
  }

  get hosts(): SharedHost[] {
    return [...this.#wanted.values()].map(({ host }) => host)
  }

  /** Something moves on the link, either way, that an operator blocked. */
  carries(blocks: Blocks): boolean {
    const isBlocked = (host: SharedHost) => {
      const grant = host.grant()
      return blocks.hasDigest(host.blob) || (grant !== undefined && blocks.hasRepository(grant))
    }
    const isWanted = this.#wanted.values().some(({ host }) => isBlocked(host))
    return isWanted || this.#served.values().some(({ host }) => blocks.hasDigest(host.blob))
  }

  /** This side owes the other one blocks. */
  get isAsking(): boolean {
    return [...this.#served.values()].some(({ lane }) => lane.queue.length > 0)
  }

  /** Closes what nobody reads here. @returns true when the link carries nothing now */
  closeUnread(): boolean {
    for (const wanted of [...this.#wanted.values()]) if (!wanted.host.isRead()) wanted.close(undefined)
    return this.isEmpty
  }

  /** The link has ended. */
  ended(reason: ShoalError | undefined): void {
    this.#pending.clear()
    const all = [...this.#wanted.values(), ...this.#served.values()]
    this.#wanted.clear()
    this.#served.clear()
    for (const swarm of all) swarm.ended(reason)
  }

  get isEmpty(): boolean {
    return this.#wanted.size + this.#served.size + this.#pending.size === 0
  }

  /** One side closes the number. */
  forget(number: number): void {
    if (this.#wanted.delete(number)) this.#strayBytesLeft += WINDOW_BYTES_MAX
    this.#served.delete(number)
    this.#pending.delete(number)
  }

  // --- what the other side sends -------------------------------------------------------------------------------

  takeOpening(payload: Buffer): void {
    const message = decodeSwarmMessage(payload)
    if (message.type === 'closed') return void this.#onClosed(message.number)
    const { number, swarm } = message
    if (this.#isOwn(number) || number <= this.#lastNumber)
      throw new PeerProtocolError('a swarm under a number that it cannot have')
    this.#lastNumber = number
    this.#spend({ type: 'interested' })
    if (this.#served.size + this.#pending.size >= LINK_SWARMS_MAX) return void this.#link.closeNumber(number)
    this.#pending.set(number, swarm)
    this.#consider(number, swarm)
  }

  /** The other side's pulls have changed: serves what they open, and nothing else. */
  recheck(): void {
    const { admission } = this.#options
    for (const served of this.#served.values()) served.admit(admission.opens(served.host.blob))
    for (const [number, swarm] of [...this.#pending]) this.#consider(number, swarm)
  }

  #consider(number: number, swarm: SwarmId): void {
    const { admission, hostOf } = this.#options
    const host = hostOf(swarm)
    if (host !== undefined && admission.opens(host.blob)) this.#serve(number, host)
    // The same answer for a blob that is not here as for one that no pull names.
    else if (admission.isSettled) this.#link.closeNumber(number)
  }

  take(message: Message, number: number): void {
    const swarm = this.#wanted.get(number) ?? this.#served.get(number)
    if (swarm === undefined) this.#onStray(message, number)
    else if (!swarm.take(message)) this.#spend(message, swarm.host.layout.pieceCount)
  }

  blockStarts(block: BlockAddress, number: number): Uint8Array | undefined {
    this.movedAtMs = Date.now()
    this.arriving = number
    const wanted = this.#wanted.get(number)
    if (wanted?.isOpen) {
      const target = wanted.host.onBlockStart(wanted, block)
      if (target) this.#options.budget.moved(block)
      return target
    }
    this.#checkKnown(number)
    this.#strayBytesLeft -= Math.max(block.length, BLOCK_BYTES_FOREIGN)
    if (this.#strayBytesLeft < 0) throw new PeerProtocolError('too many unrequested blocks')
    return undefined
  }

  blockEnds(block: BlockAddress, number: number): void {
    this.arriving = undefined
    const wanted = this.#wanted.get(number)
    if (wanted?.isOpen) wanted.host.onBlockEnd(wanted, block)
  }

  #serve(number: number, host: SharedHost): void {
    this.#pending.delete(number)
    const { isDialler, network = '', node, claims } = this.#link
    // One whose pieces were wrong is served nothing of that blob.
    if (host.isRevoked(claims) || (!isDialler && !host.makeRoom(network)))
      return void this.#link.closeNumber(number)
    for (const other of this.#served.values()) if (other.host === host) other.close(undefined)
    if (!this.#budgeted.has(host.swarm) && this.#budgeted.size < LINK_SWARMS_MAX) {
      this.#budgeted.add(host.swarm)
      this.#options.budget.widen(host.layout.pieceCount)
    }
    const served = new ServedSwarm(this.#link, {
      number,
      host,
      writer: this.#link.writer,
      turns: this.#link.turns,
      hashesId: this.#options.hashesId(),
      onServed: (block) => {
        this.movedAtMs = Date.now()
        this.#options.budget.moved(block)
      },
      onDead: () => this.#link.onDead(),
    })
    this.#served.set(number, served)
    host.onServing(served, network)
    served.admit(true)
    const { remoteAddress, listenPort } = this.#link
    if (isDialler || remoteAddress === undefined || listenPort === undefined) return
    host.onDownloader({ node, address: remoteAddress, port: listenPort, isSeed: false })
  }

  #onClosed(number: number): void {
    const swarm = this.#wanted.get(number) ?? this.#served.get(number)
    if (swarm === undefined && !this.#pending.has(number)) return void this.#spend({ type: 'interested' })
    this.forget(number)
    swarm?.ended(undefined)
  }

  /** It was closed while the message was on its way, or is not open yet. */
  #onStray(message: Message, number: number): void {
    this.#checkKnown(number)
    this.#spend(message)
  }

  #checkKnown(number: number): void {
    const isKnown = this.#isOwn(number) ? number < this.#nextNumber : number <= this.#lastNumber
    if (!isKnown) throw new PeerProtocolError('a message about a swarm that nobody opened')
  }

  #spend(message: Message, pieceCount = 0): void {
    this.#options.budget.spend(message, Date.now(), pieceCount)
  }

  #isOwn(number: number): boolean {
    return (number % 2 === 1) === this.#link.isDialler
  }
}
