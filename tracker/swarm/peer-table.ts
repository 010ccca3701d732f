import { NOWHERE, type NodeLocation } from '../../core/location.ts'
import type { NodeId, SwarmId } from '../../core/metainfo.ts'
import { NODE_SWARMS_MAX, type Peer } from '../../core/tracker-api.ts'
import { WIRE_VERSION_FIRST } from '../../core/wire-version.ts'
import type { Endpoint } from '../handout/port-retries.ts'
import type { PresenceRecord } from '../store/memory.ts'
import { BadPeers } from './bad-peers.ts'
import { Circles } from './circles.ts'
import { type HolderNews, takeHolderNews } from './holder-news.ts'
import { type Asking, type Membership, PeerChoice, type Presence, type SwarmPeers } from './peer-choice.ts'
import { StockPeers } from './stock-peers.ts'

/**
 * Who is in which swarm. A node that is silent for `ttlMs` is forgotten. After a restart the tracker lists what it had
 * saved, and nodes report everything again with their next heartbeat. Invariant: presences are in the order of their last sign of life, and every membership is in exactly
 * one list, at the index that it stores.
 */

/** A sign of life: where the node is reached. */
export interface NodeContact {
  node: NodeId
  address: string
  port: number
  /** The newest wire version that it speaks; absent: as before, or the first. */
  wire?: number
}

/** Absent: as before. */
type Located = NodeContact & Partial<NodeLocation>

/** A node as it is listed. */
export interface Listing extends Required<NodeContact> {
  /** Time since its last sign of life. */
  heardAgoMs: number
  /** Absent before the tracker tried. */
  isReached?: boolean
}

export interface Inventory {
  isFullInventory: boolean
  holds: readonly { swarm: SwarmId; isSeed: boolean }[]
  dropped: readonly SwarmId[]
}

/** The peers of one cluster. */
export class PeerTable {
  /** Peers that are not Shoal nodes: they announce themselves, and send no heartbeat. */
  readonly stock = new StockPeers()
  readonly bad = new BadPeers()
  readonly #ttlMs: number
  readonly #presences = new Map<NodeId, Presence>()
  readonly #swarms = new Map<SwarmId, SwarmPeers>()
  /** Nodes that are not saved as they are now. */
  readonly #unsaved = new Set<NodeId>()
  readonly #circles = new Circles<Presence>()
  readonly #choice: PeerChoice

  constructor(ttlMs: number, isDrained: (node: NodeId) => boolean = () => false) {
    this.#ttlMs = ttlMs
    this.#choice = new PeerChoice(this.#swarms, this, isDrained, this.#circles)
  }

  get nodeCount(): number {
    return this.#presences.size
  }

  holds(node: NodeId, swarm: SwarmId): boolean {
    return this.#presences.get(node)?.memberships.has(swarm) === true
  }

  /** A node's heartbeat. @returns whether the node must report its full inventory */
  heartbeat(contact: Located, inventory: Inventory, nowMs: number): { wantsFullInventory: boolean } {
    const presence = this.#touch(contact, nowMs)
    for (const membership of presence.memberships.values()) membership.handouts = 0
    if (inventory.isFullInventory) {
      this.#dropAllBut(presence, new Set(inventory.holds.map(({ swarm }) => swarm)))
      presence.hasInventory = true
      presence.toldEpochs = 0
      presence.toldHoldersAtMs = Number.NEGATIVE_INFINITY
    }
    for (const swarm of inventory.dropped) this.#remove(presence, swarm)
    for (const { swarm, isSeed } of inventory.holds) this.#put(presence, swarm, isSeed)
    return { wantsFullInventory: !presence.hasInventory }
  }

  /** The node takes part in a swarm: from its pull on, before its next heartbeat says so. */
  join(contact: NodeContact, swarm: SwarmId, nowMs: number): void {
    const presence = this.#touch(contact, nowMs)
    const known = presence.memberships.get(swarm)
    if (known === undefined) this.#put(presence, swarm, false)
    // It may have been looked for before there was a grant.
    else delete known.isGranted
  }

  /** The node gave up before it had anything of the blob; a seed stays one. */
  leave(node: NodeId, swarm: SwarmId): void {
    const presence = this.#presences.get(node)
    if (presence?.memberships.get(swarm)?.isSeed === false) this.#remove(presence, swarm)
  }

  /** The node has the whole blob. Does nothing for a node that is not listed. */
  becameSeed(node: NodeId, swarm: SwarmId): void {
    const presence = this.#presences.get(node)
    if (presence !== undefined) this.#put(presence, swarm, true)
  }

  forget(node: NodeId): void {
    const presence = this.#presences.get(node)
    if (presence !== undefined) this.#forget(presence)
    this.stock.forget(node)
  }

  /** Whether the node sends its heartbeats to this tracker. */
  isHeardHere(node: NodeId): boolean {
    return this.#presences.get(node)?.hasInventory === true
  }

  /** Another tracker hears of the node. Does nothing for a node that is not listed. */
  keep(node: NodeId, nowMs: number): void {
    const presence = this.#presences.get(node)
    if (presence !== undefined) this.#touch(presence, nowMs)
  }

  /** Lists the node as it was before the tracker restarted, or as another tracker knows it, until it is silent for too long. */
  restore({ holds, ...contact }: Omit<PresenceRecord, 'cluster'>, nowMs: number): void {
    const presence = this.#touch(contact, nowMs)
    this.#dropAllBut(presence, new Set(holds.map(({ swarm }) => swarm)))
    for (const { swarm, isSeed } of holds) this.#put(presence, swarm, isSeed)
    this.#unsaved.delete(contact.node)
  }

  /** The tracker tried the node's port there. */
  tried(node: NodeId, { address, port }: Endpoint, isReached: boolean): void {
    this.#choice.hasReached ||= isReached
    const presence = this.#presences.get(node)
    if (presence?.address === address && presence.port === port) presence.isReached = isReached
  }

  /** Whether the tracker reached the node where it is listed; undefined before it tried. */
  isReached(node: NodeId): boolean | undefined {
    return this.#presences.get(node)?.isReached
  }

  /** Where the node is listed; undefined: it is silent. */
  listing(node: NodeId, nowMs: number): Listing | undefined {
    this.#expire(nowMs)
    const presence = this.#presences.get(node)
    if (presence === undefined) return undefined
    const { address, port, wire, isReached, expiresAtMs } = presence
    const heardAgoMs = Math.max(0, nowMs - (expiresAtMs - this.#ttlMs))
    return { node, address, port, wire, heardAgoMs, ...(isReached === undefined ? {} : { isReached }) }
  }

  /** The swarms that the node is in, the newest last; with `other`, those that both are in. */
  swarmsOf(node: NodeId, other?: NodeId): SwarmId[] {
    const swarms = [...(this.#presences.get(node)?.memberships.keys() ?? [])]
    return other === undefined ? swarms : swarms.filter((swarm) => this.holds(other, swarm))
  }

  /** The node in the swarm that was heard of last, without the asker: it is the likeliest to be there. */
  latestOther(asker: NodeId, swarm: SwarmId, nowMs: number): Listing | undefined {
    this.#expire(nowMs)
    const { seeds = [], leechers = [] } = this.#swarms.get(swarm) ?? {}
    let latest: Presence | undefined
    for (const { presence } of [...seeds, ...leechers]) {
      const isLater = latest === undefined || presence.expiresAtMs >= latest.expiresAtMs
      if (presence.node !== asker && isLater) latest = presence
    }
    return latest && this.listing(latest.node, nowMs)
  }

  /** What was taken could not be saved. */
  readonly markUnsaved = (node: NodeId): void => void this.#unsaved.add(node)

  /** Up to `nodesMax` nodes that changed since they were taken last. Without `holds`: nothing to save is left. */
  takeUnsaved(nodesMax: number): (Required<Located> & Partial<Pick<PresenceRecord, 'holds'>>)[] {
    return [...this.#unsaved].slice(0, nodesMax).map((node) => {
      this.#unsaved.delete(node)
      const {
        address = '',
        port = 0,
        wire = WIRE_VERSION_FIRST,
        zone = '',
        rack = '',
        memberships = new Map<SwarmId, Membership>(),
      } = this.#presences.get(node) ?? {}
      const holds = [...memberships].map(([swarm, { isSeed }]) => ({ swarm, isSeed }))
      return { node, address, port, wire, zone, rack, ...(holds.length > 0 ? { holds } : {}) }
    })
  }

  /** Remembers that the node now knows of epoch changes up to `newest`; returns the number that it knew before. */
  takeToldEpochs(node: NodeId, newest: number): number {
    const presence = this.#presences.get(node)
    if (presence === undefined) return newest
    const told = presence.toldEpochs
    presence.toldEpochs = newest
    return told
  }

  /** How many other nodes have the whole blob, of the node's swarms where that changed since it was told. */
  takeHolders(node: NodeId, nowMs: number): HolderNews[] {
    const presence = this.#presences.get(node)
    return presence === undefined ? [] : takeHolderNews(presence, this.#swarms, nowMs)
  }

  /**
   * A random, load-spread choice of peers for each of the swarms, without the asker; then a few stock clients. For an asker
   * with links the nodes are few, and cover the swarms together.
   */
  chooseAll(swarms: readonly SwarmId[], asking: Asking): Peer[][] {
    this.#expire(asking.nowMs)
    const presence = this.#presences.get(asking.asker)
    return this.#choice.all(swarms, asking, { wire: presence?.wire ?? WIRE_VERSION_FIRST, presence })
  }

  /** As `chooseAll`, for one swarm. */
  choose(swarm: SwarmId, asking: Asking): Peer[] {
    return this.chooseAll([swarm], asking)[0]!
  }

  /** Nodes with the whole blob. */
  chooseSeeds(swarm: SwarmId, asking: Asking & { peersMax: number }): Peer[] {
    this.#expire(asking.nowMs)
    return this.#choice.seeds(swarm, asking)
  }

  count(swarm: SwarmId, nowMs: number): { seeds: number; leechers: number } {
    this.#expire(nowMs)
    const peers = this.#swarms.get(swarm)
    return { seeds: peers?.seeds.length ?? 0, leechers: peers?.leechers.length ?? 0 }
  }

  #touch(contact: Located, nowMs: number): Presence {
    this.#expire(nowMs)
    const known = this.#presences.get(contact.node)
    const presence: Presence = known ?? {
      ...contact,
      ...{ wire: WIRE_VERSION_FIRST, ...NOWHERE },
      isReached: undefined,
      expiresAtMs: 0,
      hasInventory: false,
      toldEpochs: 0,
      toldHoldersAtMs: Number.NEGATIVE_INFINITY,
      memberships: new Map(),
    }
    const { wire = presence.wire, zone = presence.zone, rack = presence.rack } = contact
    const isMoved = presence.address !== contact.address || presence.port !== contact.port
    if (isMoved) presence.isReached = undefined
    const isElsewhere = presence.zone !== zone || presence.rack !== rack
    if (isMoved || isElsewhere || presence.wire !== wire) this.#unsaved.add(contact.node)
    presence.wire = wire
    if (isElsewhere) {
      this.#circles.delete(presence)
      Object.assign(presence, { zone, rack })
    }
    this.#circles.add(presence)
    presence.address = contact.address
    presence.port = contact.port
    presence.expiresAtMs = nowMs + this.#ttlMs
    // The map keeps the order of insertion: the first to expire stay in front.
    this.#presences.delete(contact.node)
    this.#presences.set(contact.node, presence)
    return presence
  }

  #expire(nowMs: number): void {
    for (const presence of this.#presences.values()) {
      if (presence.expiresAtMs > nowMs) return
      this.#forget(presence)
    }
  }

  #forget(presence: Presence): void {
    this.#dropAllBut(presence, new Set())
    this.#circles.delete(presence)
    this.#presences.delete(presence.node)
  }

  #dropAllBut(presence: Presence, kept: ReadonlySet<SwarmId>): void {
    for (const swarm of presence.memberships.keys()) {
      if (!kept.has(swarm)) this.#remove(presence, swarm)
    }
  }

  #put(presence: Presence, swarm: SwarmId, isSeed: boolean): void {
    const known = presence.memberships.get(swarm)
    if (known?.isSeed === isSeed) return
    if (known !== undefined) this.#remove(presence, swarm)
    if (presence.memberships.size >= NODE_SWARMS_MAX) return
    const list = this.#listOf(swarm, isSeed)
    const { handouts = 0, isGranted } = known ?? {}
    const membership: Membership = { presence, isSeed, index: list.length, handouts }
    if (isGranted !== undefined) membership.isGranted = isGranted
    list.push(membership)
    presence.memberships.set(swarm, membership)
    this.#unsaved.add(presence.node)
  }

  #remove(presence: Presence, swarm: SwarmId): void {
    const membership = presence.memberships.get(swarm)
    if (membership === undefined) return
    presence.memberships.delete(swarm)
    this.#unsaved.add(presence.node)
    const list = this.#listOf(swarm, membership.isSeed)
    const last = list.pop()!
    if (last !== membership) {
      list[membership.index] = last
      last.index = membership.index
    }
    const { seeds, leechers } = this.#swarms.get(swarm)!
    if (seeds.length + leechers.length === 0) this.#swarms.delete(swarm)
  }

  #listOf(swarm: SwarmId, isSeed: boolean): Membership[] {
    let peers = this.#swarms.get(swarm)
    if (peers === undefined) {
      peers = { seeds: [], leechers: [] }
      this.#swarms.set(swarm, peers)
    }
    return isSeed ? peers.seeds : peers.leechers
  }
}
