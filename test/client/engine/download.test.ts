import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Assembly, Download, type Source, type SourceLimits } from '../../../client/engine/download.ts'
import { SOURCES_IDLE_MAX } from '../../../client/engine/end-game.ts'
import type { InFlight } from '../../../client/engine/in-flight.ts'
import { BLOB_IN_FLIGHT_BYTES_MAX, type Pace } from '../../../client/engine/pace.ts'
import { RateLimit } from '../../../client/engine/rate-limit.ts'
import type { Sources } from '../../../client/engine/sources.ts'
import type { Stalls } from '../../../client/engine/stalls.ts'
import { Bitfield } from '../../../client/store/bitfield.ts'
import type { PieceBuffer } from '../../../client/store/piece-buffers.ts'
import type { StreamedPiece } from '../../../client/store/piece-stream.ts'
import { PieceWrites } from '../../../client/store/piece-writes.ts'
import type { BlockAddress } from '../../../client/wire/messages.ts'
import type { NodeId, PieceIndex, PieceLayout } from '../../../core/metainfo.ts'

/** The download's decisions, driven by peers that do whatever they like, with a clock that the test turns. */

const PIECE_BYTES = 64 * 1024

function layoutOf(pieceCount: number, pieceBytes: number): PieceLayout {
  return { pieceCount, pieceBytes, blobBytes: pieceCount * pieceBytes - 12345 }
}

function nodeOf(index: number): NodeId {
  return createHash('sha256').update(`node ${index}`).digest('hex').slice(0, 40) as NodeId
}

/** Counts who has which buffer or stream; gives out `max` at once. */
class CountedBuffers {
  readonly inUse = new Set<PieceBuffer | StreamedPiece>()
  readonly max: number
  constructor(max: number) {
    this.max = max
  }
  acquire(bytes: number, { isSecond = false } = {}): PieceBuffer | undefined {
    if (this.inUse.size >= this.max) return undefined
    const buffer = { bytes: new Uint8Array(bytes), pieceBytes: bytes, isSecond }
    this.inUse.add(buffer)
    return buffer
  }
  release(buffer: PieceBuffer | StreamedPiece): void {
    if (!this.inUse.delete(buffer)) throw new Error('a buffer was released twice')
  }
}

/** What the invariants are about. */
interface Inside {
  sources: Sources
  inFlight: InFlight
  verifying: Set<PieceIndex>
  pace: Pace
  stalls: Stalls
}

interface FakePeer {
  source: Source
  pending: { block: BlockAddress; isCancelled: boolean }[]
  /** A block that has begun to arrive. */
  arriving: BlockAddress | undefined
}

class World {
  nowMs = 0
  readonly layout: PieceLayout
  readonly have: Bitfield
  readonly buffers: CountedBuffers
  readonly download: Download
  readonly peers: FakePeer[] = []
  readonly verifying: Assembly[] = []
  readonly claimed = new Set<number>()
  readonly writes = new PieceWrites((piece) => this.have.has(piece))
  /** For each piece, what its blocks in the file are from. */
  readonly file = new Map<PieceIndex, Map<number, object>>()
  readonly #readable = new Map<PieceIndex, object>()
  position: number | undefined = 0
  isForThread = false

  /** @param bytesPerSecond that this node may take in; 0: as many as come */
  constructor(
    pieceCount: number,
    buffersMax: number,
    { node = nodeOf(0), bytesPerSecond = 0, pieceBytes = PIECE_BYTES } = {},
  ) {
    this.layout = layoutOf(pieceCount, pieceBytes)
    this.have = new Bitfield(pieceCount)
    this.buffers = new CountedBuffers(buffersMax)
    let seed = 1
    this.download = new Download({
      node,
      layout: this.layout,
      have: this.have,
      buffers: this.buffers,
      stream: (piece) => this.#openStream(piece),
      isForThread: () => this.isForThread,
      isAskable: (piece) => !this.claimed.has(piece),
      position: () => this.position,
      onPiece: (assembly) => void this.verifying.push(assembly),
      nowMs: () => this.nowMs,
      random: () => {
        seed = (seed * 16807) % 2147483647
        return seed / 2147483647
      },
      limit: new RateLimit(bytesPerSecond, () => this.nowMs),
      wait: () => undefined,
    })
    this.download.resume()
  }

  #openStream(piece: PieceIndex): StreamedPiece | undefined {
    if (this.buffers.inUse.size >= this.buffers.max) return undefined
    const writer = this.writes.begin(piece, { isStream: true })
    if (!writer) return undefined
    const { writes, file } = this
    let isStopped = false
    const stream: StreamedPiece = {
      piece,
      write: (begin) => {
        if (!writes.writeBegins(writer)) {
          isStopped = true
          return
        }
        const blocks = file.get(piece) ?? new Map()
        file.set(piece, blocks.set(begin, stream))
        writes.writeEnds(writer)
      },
      get mayBeRead() {
        return !isStopped && writes.mayBeRead(writer)
      },
      hash: () => Promise.reject(new Error('not here')),
      end: () => {
        writes.end(writer)
        this.buffers.release(stream)
      },
    }
    this.buffers.inUse.add(stream)
    return stream
  }

  /** Makes a right copy readable, as the intake does. */
  #keep({ piece, copy }: Assembly): void {
    if (copy.stream?.mayBeRead === false) return
    if (copy.buffer) {
      const writer = this.writes.begin(piece, { isStream: false })
      if (writer) this.writes.end(writer)
      // Stops a stream at once; nothing is in flight here.
      else void this.writes.takeOver(piece).then((taken) => taken && this.writes.end(taken))
      this.file.set(piece, new Map([[0, copy.buffer]]))
    }
    this.#readable.set(piece, copy.stream ?? copy.buffer)
    this.have.add(piece)
  }

  get inside(): Inside {
    return this.download
  }

  addPeer(limits: SourceLimits, node = nodeOf(this.peers.length + 1)): FakePeer {
    const peer = { pending: [], arriving: undefined } as unknown as FakePeer
    peer.source = this.download.addSource(
      {
        node,
        request: (block) => {
          expect(this.have.has(block.piece as PieceIndex)).toBe(false)
          expect(this.claimed.has(block.piece)).toBe(false)
          expect(this.download.isPaused).toBe(false)
          peer.pending.push({ block, isCancelled: false })
        },
        cancel: (block) => {
          const match = peer.pending.find((entry) => isSame(entry.block, block) && !entry.isCancelled)
          if (match) match.isCancelled = true
        },
        discardBlock: () => undefined,
        received: () => undefined,
      },
      limits,
    )
    this.peers.push(peer)
    return peer
  }

  /** Sends the block, in two steps so that something may happen in between. */
  begin(peer: FakePeer, index: number): void {
    if (peer.arriving || peer.pending.length === 0) return
    const [entry] = peer.pending.splice(index % peer.pending.length, 1)
    peer.arriving = entry!.block
    const target = this.download.blockStarts(peer.source, entry!.block)
    if (target) expect(target.length).toBe(entry!.block.length)
  }

  end(peer: FakePeer): void {
    const block = peer.arriving
    if (!block) return
    peer.arriving = undefined
    this.download.blockEnds(peer.source, block)
  }

  reject(peer: FakePeer, index: number): void {
    if (peer.arriving || peer.pending.length === 0) return
    const [entry] = peer.pending.splice(index % peer.pending.length, 1)
    this.download.rejected(peer.source, entry!.block)
  }

  choke(peer: FakePeer): void {
    if (peer.arriving) return
    this.download.choked(peer.source)
    // BEP 6: every request that was open is answered.
    for (const { block } of peer.pending.splice(0)) this.download.rejected(peer.source, block)
  }

  remove(peer: FakePeer): void {
    this.peers.splice(this.peers.indexOf(peer), 1)
    this.download.removeSource(peer.source)
  }

  settle(isRight: boolean): void {
    const assembly = this.verifying.shift()
    if (!assembly) return
    if (isRight) this.#keep(assembly)
    else {
      const liar = this.peers.find(({ source }) => source === assembly.source)
      if (liar) this.remove(liar)
    }
    this.download.settle(assembly)
  }

  check(): void {
    const { sources, inFlight, verifying, pace } = this.inside
    const assemblies = [...sources].flatMap((source) => source.assemblies)
    expect(this.buffers.inUse.size).toBe(assemblies.length + this.verifying.length)
    for (const source of sources) {
      const due = source.assemblies.flatMap(({ outstanding }) => [...outstanding.values()])
      expect(source.outstandingBytes).toBe(due.reduce((sum, length) => sum + length, 0))
      expect(source.outstandingRequests).toBe(due.length)
      if (!source.isUnchoked) expect(source.assemblies).toHaveLength(0)
      expect(source.outstandingRequests).toBeLessThanOrEqual(source.limits.requestsMax)
    }
    const sumOf = (bytesOf: (assembly: Assembly) => number) =>
      assemblies.reduce((sum, assembly) => sum + bytesOf(assembly), 0)
    expect(pace.inFlightBytes).toBe(sumOf(({ length }) => length))
    expect(pace.dueBytes).toBe(sumOf(({ length, receivedBytes }) => length - receivedBytes))
    expect(pace.inFlightBytes).toBeLessThanOrEqual(BLOB_IN_FLIGHT_BYTES_MAX + PIECE_BYTES)
    expect([...inFlight.pieces.values()].flat()).toHaveLength(assemblies.length)
    for (const [piece, list] of inFlight.pieces) {
      expect(list.length).toBeGreaterThan(0)
      expect(list.length).toBeLessThanOrEqual(SOURCES_IDLE_MAX)
      expect(new Set(list.map(({ source }) => source)).size).toBe(list.length)
      expect(list.every((assembly) => assembly.piece === piece)).toBe(true)
    }
    expect(verifying.size).toBe(this.verifying.length)
    for (let piece = 0; piece < this.layout.pieceCount; piece++) {
      const offering = [...sources].filter(({ offered }) => offered.has(piece as PieceIndex))
      expect(sources.availability[piece]).toBe(offering.length)
    }
    if (this.download.isPaused) expect(assemblies).toHaveLength(0)
    for (const [piece, copy] of this.#readable)
      expect(new Set(this.file.get(piece)?.values()), 'a readable piece is one copy').toEqual(new Set([copy]))
    for (const list of inFlight.pieces.values())
      expect(list.filter(({ copy }) => copy.stream).length).toBeLessThanOrEqual(1)
    for (const { source, copy } of assemblies) if (copy.stream) expect(source.limits.blockBytes).toBe(131072)
  }

  /** From now on everybody is honest and prompt. @returns the steps until everything was there */
  finish(): number {
    this.claimed.clear()
    for (const peer of [...this.peers]) this.end(peer)
    while (this.verifying.length > 0) this.settle(true)
    this.download.resume()
    const helper = this.addPeer({ blockBytes: 16384, requestsMax: 250, hasFast: true })
    this.download.offers(helper.source, allOf(this.layout))
    this.download.unchoked(helper.source)
    for (let step = 0; step < 2000; step++) {
      if (this.have.isFull) return step
      this.nowMs += 100
      this.download.tick()
      for (const peer of [...this.peers]) {
        while (peer.pending.length > 0 && this.peers.includes(peer)) {
          this.begin(peer, 0)
          this.end(peer)
        }
      }
      while (this.verifying.length > 0) this.settle(true)
      this.check()
    }
    return Number.POSITIVE_INFINITY
  }
}

const isSame = (a: BlockAddress, b: BlockAddress) =>
  a.piece === b.piece && a.begin === b.begin && a.length === b.length
const allOf = (layout: PieceLayout) => Array.from({ length: layout.pieceCount }, (_, at) => at as PieceIndex)

const LIMITS: SourceLimits[] = [
  { blockBytes: 16384, requestsMax: 250, hasFast: true },
  { blockBytes: 131072, requestsMax: 256, hasFast: true },
  { blockBytes: 16384, requestsMax: 2, hasFast: false },
]

/** What may happen next; `a` and `b` choose whom and what. */
const ACTIONS: ((world: World, a: number, b: number) => void)[] = [
  (world, a) => world.peers.length < 6 && world.addPeer(LIMITS[a % 3]!),
  (world, a, b) =>
    withPeer(world, a, (peer) =>
      world.download.offers(peer.source, [(b % world.layout.pieceCount) as PieceIndex]),
    ),
  (world, a) => withPeer(world, a, (peer) => world.download.offers(peer.source, allOf(world.layout))),
  (world, a) => withPeer(world, a, (peer) => world.download.unchoked(peer.source)),
  (world, a) => withPeer(world, a, (peer) => world.download.unchoked(peer.source)),
  (world, a) => withPeer(world, a, (peer) => world.choke(peer)),
  (world, a, b) => withPeer(world, a, (peer) => world.begin(peer, b)),
  (world, a, b) => withPeer(world, a, (peer) => world.begin(peer, b)),
  (world, a) => withPeer(world, a, (peer) => world.end(peer)),
  (world, a) => withPeer(world, a, (peer) => world.end(peer)),
  (world, a, b) =>
    withPeer(world, a, (peer) => {
      for (let at = 0; at < 8; at++) {
        world.begin(peer, b)
        world.end(peer)
      }
    }),
  (world, a, b) => withPeer(world, a, (peer) => world.reject(peer, b)),
  (world, a) => withPeer(world, a, (peer) => world.remove(peer)),
  (world) => world.settle(true),
  (world) => world.settle(true),
  (world) => world.settle(false),
  (world, a) => {
    world.nowMs += a % 5000
    world.download.tick()
  },
  (world, a) => {
    const piece = (a % world.layout.pieceCount) as PieceIndex
    world.claimed.add(piece)
    world.download.giveUp(piece)
  },
  (world, a) => {
    world.claimed.delete(a % world.layout.pieceCount)
    world.download.fillAll()
  },
  (world) => (world.download.isPaused ? world.download.resume() : world.download.pause()),
  (world, a) => {
    world.position = a % 4 === 0 ? undefined : a % world.layout.pieceCount
  },
  (world) => {
    world.isForThread = !world.isForThread
  },
]

function withPeer(world: World, index: number, act: (peer: FakePeer) => void): void {
  const peer = world.peers[index % Math.max(1, world.peers.length)]
  if (peer) act(peer)
}

const step = fc.tuple(fc.nat(ACTIONS.length - 1), fc.nat(9999), fc.nat(9999))

test('whatever peers do, buffers and outstanding bytes add up, and with one honest peer everything arrives', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 1, max: 8 }),
      fc.constantFrom(PIECE_BYTES, 8 * PIECE_BYTES),
      fc.array(step, { maxLength: 250 }),
      (pieces, buffers, pieceBytes, steps) => {
        const world = new World(pieces, buffers, { pieceBytes })
        for (const [action, a, b] of steps) {
          ACTIONS[action]!(world, a, b)
          world.check()
        }
        expect(world.finish()).toBeLessThan(2000)
        expect(world.buffers.inUse.size).toBe(0)
      },
    ),
    { numRuns: 300 },
  )
}, 20_000)

test('pieces for another thread stay in memory, and are no second copies; those begun before are written on', () => {
  const world = new World(3, 8)
  const copies = () => [...world.inside.inFlight.pieces.values()].flat().map(({ copy }) => copy)
  const peers = [0, 1, 2].map(() => world.addPeer(LIMITS[1]!))
  for (const [at, { source }] of peers.entries()) {
    world.isForThread = at > 0
    world.download.offers(source, [at as PieceIndex])
    world.download.unchoked(source)
  }
  expect(copies().map(({ stream, buffer }) => [stream !== undefined, buffer?.isSecond])).toEqual([
    [true, undefined],
    [false, false],
    [false, false],
  ])
  expect(world.finish()).toBeLessThan(2000)
})

test('in the end game a second peer is asked, and the slower one is told to stop', () => {
  const world = new World(1, 4)
  const [slow, fast] = [world.addPeer(LIMITS[0]!), world.addPeer(LIMITS[0]!)]
  for (const peer of [slow, fast]) {
    world.download.offers(peer.source, allOf(world.layout))
    world.download.unchoked(peer.source)
  }
  world.download.tick()
  expect(fast.pending.length, 'what began just now is not late').toBe(0)
  world.nowMs += 1_000
  world.download.tick()
  expect(fast.pending.length).toBeGreaterThan(0)
  while (fast.pending.length > 0) {
    world.begin(fast, 0)
    world.end(fast)
  }
  world.settle(true)
  expect(world.have.isFull).toBe(true)
  expect(slow.pending.every(({ isCancelled }) => isCancelled)).toBe(true)
  world.check()
})

test('a seed is asked for what only seeds have, while another peer has the rest', () => {
  const world = new World(4, 4)
  const [seed, other] = [world.addPeer(LIMITS[0]!), world.addPeer(LIMITS[0]!)]
  world.download.offers(other.source, [0, 1] as PieceIndex[])
  world.download.offers(seed.source, allOf(world.layout))
  world.download.unchoked(other.source)
  world.download.unchoked(seed.source)
  world.download.tick()
  const askedOf = ({ pending }: typeof seed) => new Set(pending.map(({ block }) => block.piece))
  expect(askedOf(seed)).toEqual(new Set([2, 3]))
  expect(askedOf(other)).toEqual(new Set([0, 1]))
})

test('downloaders that know of each other ask a seed for different pieces first, in a share each', () => {
  const worlds = [0, 1, 2, 3].map((index) => new World(64, 64, { node: nodeOf(index) }))
  const asked = worlds.map((world, index) => {
    for (const other of [0, 1, 2, 3]) if (other !== index) world.addPeer(LIMITS[0]!, nodeOf(other))
    const seed = world.addPeer({ ...LIMITS[0]!, requestsMax: 8 * (PIECE_BYTES / 16384) }, nodeOf(9))
    world.download.offers(seed.source, allOf(world.layout))
    world.download.unchoked(seed.source)
    return new Set(seed.pending.map(({ block }) => block.piece))
  })
  expect(asked.map(({ size }) => size)).toEqual([8, 8, 8, 8])
  expect(new Set(asked.flatMap((pieces) => [...pieces])).size).toBe(32)
})

test('what falls to a downloader is asked of a seed in the order of its reader', () => {
  const world = new World(64, 64)
  for (const other of [1, 2, 3]) world.addPeer(LIMITS[0]!, nodeOf(other))
  world.position = 20
  const seed = world.addPeer({ ...LIMITS[0]!, requestsMax: 8 * (PIECE_BYTES / 16384) }, nodeOf(9))
  world.download.offers(seed.source, allOf(world.layout))
  world.download.unchoked(seed.source)
  const pieces = [...new Set(seed.pending.map(({ block }) => block.piece))]
  expect(Math.floor(pieces[0]! / 4)).toBe(5)
  expect(pieces).toEqual(pieces.map((_, index) => pieces[0]! + 4 * index))
})

test('a seed gets a cancel when another downloader has the requested piece, unless it has begun', () => {
  const world = new World(4, 64)
  const [seed, other] = [world.addPeer(LIMITS[0]!), world.addPeer(LIMITS[0]!)]
  world.download.offers(seed.source, allOf(world.layout))
  world.download.unchoked(other.source)
  world.download.unchoked(seed.source)
  const first = seed.pending[0]!.block.piece
  world.begin(seed, 0)
  world.end(seed)
  world.download.offers(other.source, [0, 1, 2] as PieceIndex[])
  const cancelled = seed.pending.filter(({ isCancelled }) => isCancelled).map(({ block }) => block.piece)
  const taken = new Set(other.pending.map(({ block }) => block.piece))
  expect(new Set(cancelled)).toEqual(taken)
  expect(taken).toEqual(new Set([0, 1, 2].filter((piece) => piece !== first)))
})

test('a downloader that rejects announced pieces cancels no seed again', () => {
  const world = new World(2, 64)
  const [seed, other] = [world.addPeer(LIMITS[0]!), world.addPeer(LIMITS[0]!)]
  world.download.offers(seed.source, allOf(world.layout))
  world.download.unchoked(other.source)
  world.download.unchoked(seed.source)
  world.download.offers(other.source, [0] as PieceIndex[])
  world.reject(other, 0)
  const asked = () =>
    seed.pending.filter(({ block, isCancelled }) => block.piece === 0 && !isCancelled).length
  const before = asked()
  expect(before).toBeGreaterThan(0)
  world.download.offers(other.source, [0] as PieceIndex[])
  expect(asked()).toBe(before)
  world.nowMs += 3_600_000
  world.download.tick()
  const cancelled = () => seed.pending.filter(({ isCancelled }) => isCancelled).length
  const cancelledBefore = cancelled()
  world.download.offers(other.source, [1] as PieceIndex[])
  expect(cancelled()).toBe(cancelledBefore)
})

test('a downloader that stays idle soon gets no share any more, and delays no reader', () => {
  const world = new World(512, 64)
  world.download.unchoked(world.addPeer(LIMITS[0]!).source)
  const seed = world.addPeer(LIMITS[0]!)
  world.download.offers(seed.source, allOf(world.layout))
  world.download.unchoked(seed.source)
  while (world.have.firstMissing() < 64 && world.have.count < 512) {
    world.nowMs += 25
    world.begin(seed, 0)
    world.end(seed)
    world.settle(true)
    world.position = world.have.firstMissing()
  }
  expect(world.have.firstMissing()).toBeGreaterThanOrEqual(64)
  expect(world.have.count).toBeLessThan(256)
})

test('a peer that sends unrequested blocks is tolerated for a while and then disconnected', () => {
  const world = new World(4, 4)
  const peer = world.addPeer(LIMITS[0]!)
  const flood = (blocks: number) => {
    for (let at = 0; at < blocks; at++) {
      const block = { piece: 3, begin: 0, length: 131072 }
      expect(world.download.blockStarts(peer.source, block)).toBeUndefined()
      world.download.blockEnds(peer.source, block)
    }
  }
  flood(64)
  expect(() => flood(1)).toThrow(expect.objectContaining({ code: 'PEER_PROTOCOL' }))
})

test('a stalled piece moves to another peer, and one that nobody else has stays', () => {
  const world = new World(2, 4)
  const [silent, other] = [world.addPeer(LIMITS[0]!), world.addPeer(LIMITS[0]!)]
  world.download.offers(silent.source, allOf(world.layout))
  world.download.unchoked(silent.source)
  expect(new Set(silent.pending.map(({ block }) => block.piece)).size).toBe(2)
  world.download.offers(other.source, [0 as PieceIndex])
  world.nowMs += 10_000
  world.download.unchoked(other.source)
  world.download.tick()
  expect(other.pending.length).toBeGreaterThan(0)
  expect(other.pending.every(({ block }) => block.piece === 0)).toBe(true)
  expect(silent.pending.some(({ block, isCancelled }) => block.piece === 1 && !isCancelled)).toBe(true)
  world.check()
})

test("pieces delayed by this node's own link stay with their sources", () => {
  const world = new World(64, 64)
  const peers = [0, 1, 2, 3].map(() => world.addPeer(LIMITS[1]!))
  for (const peer of peers) {
    world.download.offers(peer.source, allOf(world.layout).slice(0, 60))
    world.download.unchoked(peer.source)
  }
  // One piece in two seconds, from one peer after the other: each is silent for eight.
  for (let at = 0; at < 24; at += 1) {
    for (let part = 0; part < 8; part += 1) {
      world.nowMs += 250
      world.download.tick()
    }
    world.begin(peers[at % 4]!, 0)
    world.end(peers[at % 4]!)
    world.settle(true)
  }
  expect(world.have.count).toBe(24)
  expect(peers.map(({ source }) => source.isSnubbed)).toEqual([false, false, false, false])
})

test('a peer that was too slow is asked again after a while', () => {
  const world = new World(256, 256)
  const [slow, other] = [addOffering(world, 4), addOffering(world, 4)]
  const asksOf = ({ pending }: FakePeer) => pending.filter(({ isCancelled }) => !isCancelled).length
  bring(world, [other], { blocks: 100, everyMs: 30 })
  expect(asksOf(slow)).toBe(0)
  bring(world, [other], { blocks: 170, everyMs: 30 })
  expect(asksOf(slow)).toBeGreaterThan(0)
  world.check()
})

test('when there is no room for all, it goes to the peer with the fewest outstanding bytes', () => {
  const world = new World(8, 2)
  const [busy, idle] = [world.addPeer(LIMITS[0]!), world.addPeer(LIMITS[0]!)]
  for (const peer of [busy, idle]) {
    world.download.offers(peer.source, allOf(world.layout))
    world.download.unchoked(peer.source)
  }
  expect(idle.pending).toEqual([])
  while (world.verifying.length === 0) {
    world.begin(busy, 0)
    world.end(busy)
  }
  world.settle(true)
  expect(idle.pending.length).toBeGreaterThan(0)
  world.check()
})

test('cancelled blocks count as due for a while, and not for ever', () => {
  const world = new World(2, 2)
  const [peer, other] = [world.addPeer(LIMITS[0]!), world.addPeer(LIMITS[0]!)]
  world.download.offers(peer.source, allOf(world.layout))
  world.download.unchoked(peer.source)
  const asked = world.inside.pace.inFlightBytes
  world.download.pause()
  expect(world.inside.pace.inFlightBytes).toBe(0)
  expect(world.inside.stalls.othersDueBytes(other.source, world.nowMs)).toBeGreaterThanOrEqual(asked)
  expect(world.inside.stalls.othersDueBytes(peer.source, world.nowMs), 'it must not set its own time').toBe(0)
  world.nowMs += 5_001
  expect(world.inside.stalls.othersDueBytes(other.source, world.nowMs)).toBe(0)
})

test('where most peers are seeds none is spared, and none gets a cancel for another downloader', () => {
  const world = new World(4, 64)
  const seeds = [0, 1].map(() => world.addPeer(LIMITS[0]!))
  const other = world.addPeer(LIMITS[0]!)
  for (const { source } of seeds) world.download.offers(source, allOf(world.layout))
  for (const { source } of [other, ...seeds]) world.download.unchoked(source)
  world.download.offers(other.source, [0, 1] as PieceIndex[])
  expect(seeds[0]!.pending.some(({ isCancelled }) => isCancelled)).toBe(false)
  expect(new Set(seeds[0]!.pending.map(({ block }) => block.piece)).size).toBe(4)
  // One leaves, and they are few again.
  world.remove(seeds[1]!)
  world.download.offers(other.source, [2] as PieceIndex[])
  expect(seeds[0]!.pending.some(({ isCancelled }) => isCancelled)).toBe(true)
})

test('a block that arrives after its cancellation shows that the link is not idle', () => {
  const world = new World(2, 2)
  const peer = world.addPeer(LIMITS[0]!)
  world.download.offers(peer.source, allOf(world.layout))
  world.download.unchoked(peer.source)
  world.download.pause()
  world.nowMs += 5_000
  expect(world.download.idleMs()).toBe(5_000)
  world.begin(peer, 0)
  expect(world.download.idleMs()).toBe(0)
})

test('silent peers do not keep an honest one from being asked, however slow it is', () => {
  const world = new World(256, 256)
  for (let at = 0; at < 15; at += 1) {
    const silent = world.addPeer(LIMITS[1]!)
    const own = allOf(world.layout).slice(16 * at, 16 * at + 16)
    world.download.offers(silent.source, own)
    world.download.unchoked(silent.source)
  }
  const honest = world.addPeer({ ...LIMITS[1]!, requestsMax: 1 })
  world.download.offers(honest.source, allOf(world.layout).slice(240))
  world.download.unchoked(honest.source)
  for (let at = 0; at < 200; at += 1) {
    world.nowMs += 250
    world.download.tick()
    world.begin(honest, 0)
    world.end(honest)
    world.settle(true)
  }
  expect(world.have.count).toBe(16)
})

test('a slow source does not set the time after which another is asked', () => {
  const world = new World(8, 64)
  const [slow, swift] = [world.addPeer(LIMITS[0]!), world.addPeer(LIMITS[0]!)]
  world.download.offers(slow.source, allOf(world.layout))
  for (const { source } of [slow, swift]) world.download.unchoked(source)
  // Ever slower, so that each block comes within what the one before made of the rate.
  let [gapMs, slowAtMs] = [300, 300]
  while (!world.have.isFull && world.nowMs < 100_000) {
    world.nowMs += 50
    if (world.nowMs === 2_500) world.download.offers(swift.source, allOf(world.layout))
    if (world.nowMs % 250 === 0) world.download.tick()
    while (swift.pending.length > 0) {
      world.begin(swift, 0)
      world.end(swift)
    }
    if (world.nowMs >= slowAtMs) {
      gapMs = Math.min(900, gapMs * 1.25)
      slowAtMs += gapMs
      world.begin(slow, 0)
      world.end(slow)
    }
    while (world.verifying.length > 0) world.settle(true)
  }
  expect(world.nowMs).toBeLessThan(5_000)
})

/** The peers' blocks come in turns, one each so many ms. */
function bring(
  world: World,
  peers: FakePeer[],
  { blocks, everyMs }: { blocks: number; everyMs: number },
): void {
  for (let at = 0; at < blocks; at += 1) {
    world.nowMs += everyMs
    world.download.tick()
    const peer = peers[at % peers.length]!
    world.begin(peer, 0)
    world.end(peer)
    world.settle(true)
  }
}

/** Offers all of the blob, so many pieces at a time. */
function addOffering(world: World, pieces: number): FakePeer {
  const peer = world.addPeer({ ...LIMITS[0]!, requestsMax: pieces * (PIECE_BYTES / 16384) })
  world.download.offers(peer.source, allOf(world.layout))
  world.download.unchoked(peer.source)
  return peer
}

test('over a full link nothing is requested twice, though every piece is in flight', () => {
  const world = new World(32, 64)
  const busy = Array.from({ length: 6 }, () => addOffering(world, 2))
  // Each is at another block, so that they come evenly, and the link is never seen to have room.
  for (const [at, peer] of busy.entries()) bring(world, [peer], { blocks: at % 4, everyMs: 250 })
  bring(world, busy, { blocks: 84, everyMs: 250 })
  const other = addOffering(world, 4)
  bring(world, busy, { blocks: 24, everyMs: 250 })
  expect(world.have.count).toBeGreaterThan(24)
  expect(other.pending).toEqual([])
})

test('over a link with room a waiting piece is also requested from another peer, and the first to begin keeps it', () => {
  const world = new World(8, 64)
  const [busy, waiting] = [addOffering(world, 4), addOffering(world, 4)]
  const other = addOffering(world, 4)
  expect(other.pending, 'all of it is under way').toEqual([])
  bring(world, [busy], { blocks: 4, everyMs: 200 })
  const at = other.pending.findIndex(({ isCancelled }) => !isCancelled)
  const piece = other.pending[at]?.block.piece
  expect(piece).toBeDefined()
  world.begin(other, at)
  world.end(other)
  const isLetOff = ({ block, isCancelled }: FakePeer['pending'][number]) =>
    block.piece !== piece || isCancelled
  expect([...busy.pending, ...waiting.pending].every(isLetOff), 'the peer that it waited at is let off').toBe(
    true,
  )
  expect(other.pending.every(({ block, isCancelled }) => block.piece !== piece || !isCancelled)).toBe(true)
  world.check()
})

test('a peer that has begun with a piece keeps it when another begins, too', () => {
  const world = new World(1, 64)
  const [slow, other] = [addOffering(world, 1), addOffering(world, 1)]
  bring(world, [slow], { blocks: 1, everyMs: 100 })
  bring(world, [other], { blocks: 1, everyMs: 500 })
  expect(other.pending.length, 'it was late').toBeGreaterThan(0)
  expect(slow.pending.some(({ isCancelled }) => isCancelled)).toBe(false)
  world.check()
})

test('when nothing arrives more and more peers are asked, and no more than six', () => {
  const world = new World(1, 64)
  const peers = Array.from({ length: 9 }, () => addOffering(world, 1))
  const asked = () => peers.filter(({ pending }) => pending.some(({ isCancelled }) => !isCancelled)).length
  const after = (ms: number) => {
    world.nowMs += ms
    world.download.tick()
    return asked()
  }
  expect(after(200)).toBe(1)
  expect(after(400)).toBe(2)
  expect(after(500)).toBe(4)
  expect(after(1_000)).toBe(6)
  expect(after(1_000)).toBe(6)
  world.check()
})

test('when nothing arrives snubbed peers are asked before their time is over', () => {
  const world = new World(256, 256)
  const [slow, other] = [addOffering(world, 4), addOffering(world, 4)]
  bring(world, [other], { blocks: 100, everyMs: 30 })
  expect(slow.source.isSnubbed).toBe(true)
  world.nowMs += 1_100
  world.download.tick()
  expect(slow.source.isSnubbed).toBe(true)
  expect(slow.pending.some(({ isCancelled }) => !isCancelled)).toBe(true)
  world.check()
})

test('a piece taken from a stalled peer does not go back to it while another has it', () => {
  const world = new World(8, 64)
  addOffering(world, 8)
  const swift = addOffering(world, 8)
  // What it has nobody can have: it is no reason to wait with the end game either.
  const choked = world.addPeer(LIMITS[0]!)
  world.download.offers(choked.source, [7] as PieceIndex[])
  for (let at = 0; at < 40 && !world.have.isFull; at += 1) {
    world.nowMs += 250
    world.download.tick()
    while (swift.pending.length > 0) {
      world.begin(swift, 0)
      world.end(swift)
    }
    while (world.verifying.length > 0) world.settle(true)
  }
  expect(world.have.isFull).toBe(true)
  world.check()
})

test('a node is not idle while a block is arriving, unless that one takes too long', () => {
  const world = new World(1, 64)
  const peers = Array.from({ length: 9 }, () => addOffering(world, 1))
  const asked = () =>
    peers.filter(({ pending, arriving }) => arriving || pending.some(({ isCancelled }) => !isCancelled))
      .length
  world.begin(peers[0]!, 0)
  world.nowMs += 1_900
  world.download.tick()
  expect(asked()).toBeLessThanOrEqual(2)
  world.nowMs += 5_000
  world.download.tick()
  expect(asked()).toBeGreaterThan(2)
})

test('a piece is cancelled at others once: a few that begin and stop do not keep it from the one that delivers', () => {
  const world = new World(1, 64)
  const [liar, other, honest] = [addOffering(world, 1), addOffering(world, 1), addOffering(world, 1)]
  world.nowMs += 700
  world.download.tick()
  const cancelsOf = ({ pending }: FakePeer) => pending.filter(({ isCancelled }) => isCancelled).length
  const askedOf = (peer: FakePeer) => peer.pending.some(({ isCancelled }) => !isCancelled)
  const second = [other, honest].find(askedOf)!
  world.begin(liar, 0)
  world.end(liar)
  expect(cancelsOf(second)).toBeGreaterThan(0)
  const before = cancelsOf(other) + cancelsOf(honest)
  world.nowMs += 1_500
  world.download.tick()
  const third = [other, honest].filter(askedOf)
  expect(third.length).toBeGreaterThan(0)
  world.begin(
    third[0]!,
    third[0]!.pending.findIndex(({ isCancelled }) => !isCancelled),
  )
  world.end(third[0]!)
  expect(cancelsOf(other) + cancelsOf(honest)).toBe(before)
})

/** One piece of four blocks: `told` was asked for it and told to stop, now `asked` is. */
function toldToStop(buffersMax = 64): { world: World; told: FakePeer; asked: FakePeer; third: FakePeer } {
  const world = new World(1, buffersMax)
  const [asked, told, third] = [world.addPeer(LIMITS[0]!), addOffering(world, 1), world.addPeer(LIMITS[0]!)]
  world.claimed.add(0)
  world.download.giveUp(0 as PieceIndex)
  for (const { source } of [asked, third]) {
    world.download.offers(source, allOf(world.layout))
    world.download.unchoked(source)
  }
  world.nowMs += 100
  world.claimed.clear()
  world.download.fillAll()
  expect(told.pending.map(({ isCancelled }) => isCancelled)).toEqual([true, true, true, true])
  expect(asked.pending.map(({ isCancelled }) => isCancelled)).toEqual([false, false, false, false])
  expect(third.pending).toHaveLength(0)
  return { world, told, asked, third }
}

function deliver(world: World, peer: FakePeer): void {
  world.begin(peer, 0)
  world.end(peer)
}

test('a piece that arrives after cancellation is accepted while no other source has begun', () => {
  const { world, told, asked } = toldToStop()
  const limitMs = world.inside.pace.stallLimitMs(0)
  while (told.pending.length > 0) {
    deliver(world, told)
    world.check()
  }
  expect(world.verifying.map(({ source }) => source)).toEqual([told.source])
  expect(asked.pending.every(({ isCancelled }) => isCancelled)).toBe(true)
  // It came at once, after a time that nobody counted.
  expect(world.inside.pace.stallLimitMs(0)).toBe(limitMs)
})

test('a cancelled piece is dropped when it arrives after another source has begun', () => {
  const { world, told, asked } = toldToStop()
  world.begin(asked, 0)
  world.begin(told, 0)
  world.end(asked)
  world.end(told)
  while (told.pending.length > 0) deliver(world, told)
  expect(world.verifying).toHaveLength(0)
  while (asked.pending.length > 0) deliver(world, asked)
  expect(world.verifying.map(({ source }) => source)).toEqual([asked.source])
  world.check()
})

test('a cancelled piece is dropped when it is stored, or comes from the registry', () => {
  const { world, told, asked } = toldToStop()
  while (asked.pending.length > 0) deliver(world, asked)
  deliver(world, told)
  expect(world.inside.inFlight.pieces.size).toBe(0)
  world.settle(true)
  deliver(world, told)
  expect(world.inside.inFlight.pieces.size).toBe(0)
  const claimed = toldToStop()
  claimed.world.claimed.add(0)
  claimed.world.download.giveUp(0 as PieceIndex)
  while (claimed.told.pending.length > 0) deliver(claimed.world, claimed.told)
  expect(claimed.world.verifying).toHaveLength(0)
})

test('a source that stops half way after a cancel has rejected nothing, and another is asked', () => {
  const { world, told, asked, third } = toldToStop()
  deliver(world, told)
  expect(asked.pending.every(({ isCancelled }) => isCancelled)).toBe(true)
  world.reject(told, 0)
  expect(told.source.offered.has(0 as PieceIndex)).toBe(true)
  expect(told.source.isSnubbed).toBe(false)
  const isAsked = ({ pending }: FakePeer) => pending.some(({ isCancelled }) => !isCancelled)
  expect([told, asked, third].filter(isAsked)).toHaveLength(1)
  world.check()
})

test('a cancelled piece is dropped when a part of it does not arrive', () => {
  const { world, told, asked } = toldToStop()
  world.reject(told, 3)
  deliver(world, told)
  expect(asked.pending.some(({ isCancelled }) => isCancelled)).toBe(false)
  world.check()
})

test('a piece requested again from the same peer is accepted once', () => {
  const { world, told: peer, asked, third } = toldToStop()
  world.remove(asked)
  world.remove(third)
  const open = peer.pending.filter(({ isCancelled }) => !isCancelled)
  expect(open).toHaveLength(4)
  for (let block = 0; block < 4; block += 1) deliver(world, peer)
  expect(open.some(({ isCancelled }) => isCancelled)).toBe(false)
  for (let block = 0; block < 4; block += 1) deliver(world, peer)
  expect(world.verifying.map(({ source }) => source)).toEqual([peer.source])
  world.check()
})

test('a byte in place of a cancelled block cancels nobody else and holds no buffer', () => {
  const { world, told, asked } = toldToStop()
  expect(world.download.blockStarts(told.source, { piece: 0, begin: 0, length: 1 })).toBeUndefined()
  expect(asked.pending.some(({ isCancelled }) => isCancelled)).toBe(false)
  expect(world.buffers.inUse.size).toBe(1)
  world.check()
})

test('without a free buffer nobody gets a cancel for a cancelled piece', () => {
  const { world, told, asked } = toldToStop(1)
  deliver(world, told)
  expect(asked.pending.some(({ isCancelled }) => isCancelled)).toBe(false)
  world.check()
})

test('at the bound of pieces in flight, a cancelled piece that is requested from nobody else is dropped', () => {
  const { world, told } = toldToStop()
  world.download.giveUp(0 as PieceIndex)
  world.inside.pace.inFlightBytes += BLOB_IN_FLIGHT_BYTES_MAX
  deliver(world, told)
  expect(world.inside.inFlight.pieces.size).toBe(0)
})

test('a snubbed peer is asked again after a whole cancelled piece, not after a block of it', () => {
  const { world, told } = toldToStop()
  told.source.isSnubbed = true
  told.source.snubEndsAtMs = Number.POSITIVE_INFINITY
  for (let block = 0; block < 3; block += 1) deliver(world, told)
  expect(told.source.isSnubbed).toBe(true)
  deliver(world, told)
  expect(told.source.isSnubbed).toBe(false)
})

test('an accepted cancelled piece cancels the others once', () => {
  const { world, told, asked, third } = toldToStop()
  deliver(world, told)
  for (const { source } of [told, asked]) {
    source.isSnubbed = true
    source.snubEndsAtMs = Number.POSITIVE_INFINITY
  }
  world.reject(told, 0)
  expect(third.pending).toHaveLength(4)
  deliver(world, asked)
  expect(third.pending.some(({ isCancelled }) => isCancelled)).toBe(false)
  expect(world.inside.inFlight.of(0 as PieceIndex).map(({ source }) => source)).toEqual([third.source])
  world.check()
})

test('a cancelled piece that arrives shows how slow the link is', () => {
  const world = new World(16, 64)
  const peer = addOffering(world, 8)
  world.download.pause()
  expect(world.inside.pace.stallLimitMs(PIECE_BYTES)).toBe(2_000)
  for (let block = 0; block < 8; block += 1) {
    world.nowMs += 1_000
    world.begin(peer, 0)
  }
  // A piece takes four seconds of this link.
  expect(world.inside.pace.stallLimitMs(PIECE_BYTES)).toBeCloseTo(4 * 4_000, -2)
})

test('a pause does not count as idle time', () => {
  const world = new World(1, 64)
  const peers = Array.from({ length: 9 }, () => addOffering(world, 1))
  world.download.pause()
  world.nowMs += 60_000
  for (const { pending } of peers) pending.length = 0
  world.download.resume()
  expect(peers.filter(({ pending }) => pending.length > 0)).toHaveLength(1)
})

test('a link that becomes slow does not make its sources slow', () => {
  const world = new World(64, 64)
  const peers = [addOffering(world, 2), addOffering(world, 2)]
  bring(world, peers, { blocks: 80, everyMs: 25 })
  for (let at = 0; at < 16; at += 1) {
    bring(world, [peers[at % 2]!], { blocks: 1, everyMs: 400 })
    expect(peers.flatMap(({ pending }) => pending).filter(({ isCancelled }) => isCancelled)).toEqual([])
  }
})

test('on a slow link no more than four MiB of whole pieces are due, however many peers there are', () => {
  const world = new World(512, 512)
  const first = addOffering(world, 16)
  bring(world, [first], { blocks: 20, everyMs: 160 })
  const others = Array.from({ length: 9 }, () => addOffering(world, 16))
  bring(world, [first, ...others], { blocks: 10, everyMs: 160 })
  const { dueBytes } = world.inside.pace
  expect(dueBytes).toBeLessThanOrEqual(4 * 1024 * 1024 + PIECE_BYTES)
  expect(dueBytes).toBeGreaterThan(3 * 1024 * 1024)
  world.check()
})

test('trickling sources, asked first for large pieces, keep no others from being asked', () => {
  const world = new World(16, 16, { pieceBytes: 4 * 1024 * 1024 })
  const slow = [0, 1, 2, 3].map(() => addOffering(world, 1))
  bring(world, slow, { blocks: 4, everyMs: 400 })
  const swift = [0, 1, 2, 3].map(() => addOffering(world, 1))
  for (let at = 0; !world.have.isFull && world.nowMs < 60_000; at += 1)
    bring(world, at % 80 === 0 ? slow : swift, { blocks: 4, everyMs: 2.5 })
  expect(world.nowMs).toBeLessThan(30_000)
})

test('a begun piece continues after a pause for the download limit, though there is no room for another', () => {
  const world = new World(8, 8, { bytesPerSecond: 1024 * 1024 })
  // Two blocks of each piece are all that may pass at once.
  const peers = Array.from({ length: 8 }, () => world.addPeer(LIMITS[2]!))
  for (const { source } of peers) world.download.offers(source, allOf(world.layout))
  for (const { source } of peers) world.download.unchoked(source)
  for (const peer of peers) bring(world, [peer, peer], { blocks: 2, everyMs: 0 })
  expect(peers.flatMap(({ pending }) => pending)).toEqual([])
  world.inside.pace.inFlightBytes += BLOB_IN_FLIGHT_BYTES_MAX
  world.nowMs += 500
  world.download.fillAll()
  expect(peers.flatMap(({ pending }) => pending).length).toBeGreaterThan(0)
})

test('a seed that was spared is asked again when another seed serves as well', () => {
  const world = new World(64, 64)
  const limits = { ...LIMITS[0]!, requestsMax: 8 }
  const [partial, seed, second] = [world.addPeer(limits), world.addPeer(limits), world.addPeer(limits)]
  world.download.offers(partial.source, [...allOf(world.layout)].slice(0, -1))
  world.download.offers(seed.source, allOf(world.layout))
  world.download.unchoked(partial.source)
  world.download.unchoked(seed.source)
  while (seed.pending.length > 0) bring(world, [seed], { blocks: 1, everyMs: 20 })
  bring(world, [partial], { blocks: 4, everyMs: 20 })
  world.download.offers(second.source, allOf(world.layout))
  bring(world, [partial], { blocks: 4, everyMs: 20 })
  expect(seed.pending).toEqual([])
  world.download.unchoked(second.source)
  bring(world, [partial], { blocks: 4, everyMs: 20 })
  expect(seed.pending.length).toBeGreaterThan(0)
})
