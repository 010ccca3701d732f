import fc from 'fast-check'
import { expect, test } from 'vitest'
import { pickPiece } from '../../../client/engine/picker.ts'
import { RequestWindow, WINDOW_BYTES_MAX, WINDOW_BYTES_MIN } from '../../../client/engine/request-window.ts'
import {
  SERVED_AT_ONCE_MAX,
  UploadQueue,
  type UploadQueueOptions,
} from '../../../client/engine/upload-queue.ts'
import type { UploadLane } from '../../../client/engine/upload-slots.ts'
import { Bitfield } from '../../../client/store/bitfield.ts'
import { PieceHashes } from '../../../client/store/piece-hashes.ts'
import { KnownPeers } from '../../../client/swarm/known-peers.ts'
import type { HashBatch } from '../../../core/hash-batch.ts'
import type { NodeId, PieceIndex, SwarmId } from '../../../core/metainfo.ts'

const pieceCounts = fc.integer({ min: 1, max: 300 })

/** Any peer may be dialled, and none has a link. */
const ANY = { isUnwanted: () => false, isLinked: () => false }

test('a bitfield counts and finds what a plain set does', () => {
  const changes = fc.array(fc.tuple(fc.boolean(), fc.nat()), { maxLength: 200 })
  fc.assert(
    fc.property(pieceCounts, changes, fc.nat(), (pieceCount, changes, from) => {
      const field = new Bitfield(pieceCount)
      const plain = new Set<number>()
      for (const [isAdded, at] of changes) {
        const piece = (at % pieceCount) as PieceIndex
        if (isAdded) {
          expect(field.add(piece)).toBe(!plain.has(piece))
          plain.add(piece)
        } else {
          field.delete(piece)
          plain.delete(piece)
        }
        expect(field.count).toBe(plain.size)
        let missing = 0
        while (missing < pieceCount && plain.has(missing)) missing += 1
        expect(field.firstMissing()).toBe(missing)
        missing = from % pieceCount
        while (missing < pieceCount && plain.has(missing)) missing += 1
        expect(field.firstMissing(from % pieceCount)).toBe(missing)
      }
      expect(field.isFull).toBe(plain.size === pieceCount)
      const copy = Bitfield.fromBytes(field.toBytes(), pieceCount)
      for (let piece = 0; piece < pieceCount; piece++)
        expect(copy.has(piece as PieceIndex)).toBe(plain.has(piece))
      expect(copy.count).toBe(field.count)
    }),
  )
})

test('a bitfield of the wrong length or with spare bits is refused', () => {
  fc.assert(
    fc.property(pieceCounts, fc.uint8Array({ maxLength: 50 }), (pieceCount, bytes) => {
      const spare = bytes.length * 8 - pieceCount
      const isRight = spare >= 0 && spare < 8 && (spare === 0 || (bytes.at(-1)! & ((1 << spare) - 1)) === 0)
      if (isRight)
        expect(Bitfield.fromBytes(bytes, pieceCount).toBytes().equals(Buffer.from(bytes))).toBe(true)
      else
        expect(() => Bitfield.fromBytes(bytes, pieceCount)).toThrow(
          expect.objectContaining({ code: 'PEER_PROTOCOL' }),
        )
    }),
  )
})

test('the picker picks only offered, untaken pieces: rare ones, else the rarest inside its window', () => {
  const world = pieceCounts.chain((pieceCount) =>
    fc.record({
      pieceCount: fc.constant(pieceCount),
      offered: fc.array(fc.boolean(), { minLength: pieceCount, maxLength: pieceCount }),
      taken: fc.array(fc.boolean(), { minLength: pieceCount, maxLength: pieceCount }),
      availability: fc.array(fc.integer({ min: 1, max: 5 }), {
        minLength: pieceCount,
        maxLength: pieceCount,
      }),
      position: fc.option(fc.nat(pieceCount - 1), { nil: undefined }),
      sources: fc.nat(30),
      random: fc.array(fc.double({ min: 0, max: 0.999999, noNaN: true }), { minLength: 1, maxLength: 5 }),
    }),
  )
  fc.assert(
    fc.property(world, ({ pieceCount, offered, taken, availability, position, sources, random }) => {
      const field = new Bitfield(pieceCount)
      for (const [piece, isOffered] of offered.entries()) if (isOffered) field.add(piece as PieceIndex)
      let calls = 0
      const picked = pickPiece(field, {
        pieceCount,
        position,
        isTaken: (piece) => taken[piece]!,
        availability: Uint16Array.from(availability),
        sources,
        random: () => random[calls++ % random.length]!,
      })
      const candidates = [...offered.keys()].filter((piece) => offered[piece] && !taken[piece])
      if (candidates.length === 0) {
        expect(picked).toBeUndefined()
        return
      }
      const end = position === undefined ? pieceCount : position + Math.max(8, Math.ceil(pieceCount / 8))
      const inside = candidates.filter((piece) => piece >= (position ?? 0) && piece < end)
      const [next] = candidates.filter((piece) => piece >= end)
      const span = end - (position ?? 0)
      const windowOf = (piece: number) => Math.floor((piece - end) / span)
      const after = candidates.filter((piece) => piece >= end && windowOf(piece) === windowOf(next!))
      const scarce = candidates.filter((piece) => availability[piece]! <= sources / 10)
      const inOrder = inside.length > 0 ? inside : after.length > 0 ? after : candidates
      const best = position !== undefined && scarce.length > 0 ? scarce : inOrder
      expect(best).toContain(picked)
      expect(availability[picked!]).toBe(Math.min(...best.map((piece) => availability[piece]!)))
    }),
    { numRuns: 500 },
  )
})

test('equally rare pieces are picked about equally often', () => {
  const field = Bitfield.full(4)
  const counts = [0, 0, 0, 0]
  for (let round = 0; round < 4000; round++) {
    const view = {
      pieceCount: 4,
      position: undefined,
      isTaken: () => false,
      availability: new Uint16Array(4),
      sources: 4,
      random: Math.random,
    }
    counts[pickPiece(field, view)!]! += 1
  }
  for (const count of counts) expect(count).toBeGreaterThan(800)
})

const batchOf = (
  epoch: number,
  firstPiece: number,
  status: HashBatch['status'],
  fills: number[],
): HashBatch => ({
  swarm: 'a'.repeat(40) as SwarmId,
  epoch,
  status,
  firstPiece,
  hashes: Buffer.concat(fills.map((fill) => Buffer.alloc(32, fill))),
  signature: Buffer.alloc(64),
})

test('piece hashes tell a batch of known hashes from one that says anything else', () => {
  const hashes = new PieceHashes(8)
  expect(hashes.includes(batchOf(0, 0, 'claimed', [1]))).toBe(false)
  hashes.add(batchOf(0, 0, 'claimed', [1, 2, 3]))
  expect(hashes.includes(batchOf(0, 1, 'claimed', [2, 3]))).toBe(true)
  expect(hashes.includes(batchOf(0, 1, 'claimed', [2, 4]))).toBe(false)
  expect(hashes.includes(batchOf(0, 1, 'claimed', [2, 3, 4]))).toBe(false)
  expect(hashes.includes(batchOf(0, 1, 'confirmed', [2, 3]))).toBe(false)
  expect(hashes.includes(batchOf(1, 1, 'claimed', [2, 3]))).toBe(false)
  expect(hashes.includes(batchOf(0, 7, 'claimed', [1, 2]))).toBe(false)
})

test('piece hashes: confirmed ones are never replaced by claims, older epochs never heard, newer ones replace all', () => {
  const batches = fc.array(
    fc.record({
      epoch: fc.nat(3),
      first: fc.nat(25),
      status: fc.constantFrom('claimed' as const, 'confirmed' as const),
      fills: fc.array(fc.nat(255), { minLength: 1, maxLength: 8 }),
    }),
    { maxLength: 40 },
  )
  fc.assert(
    fc.property(batches, (batches) => {
      const hashes = new PieceHashes(20)
      let epoch = 0
      const model = new Map<number, { fill: number; isConfirmed: boolean }>()
      for (const { epoch: at, first, status, fills: claimed } of batches) {
        // The tracker never confirms two different hashes of one piece.
        const fills = status === 'claimed' ? claimed : claimed.map((_, offset) => 100 + first + offset)
        const isHeard = at >= epoch && first + fills.length <= 20
        const isNews = hashes.add(batchOf(at, first, status, fills))
        if (!isHeard) {
          expect(isNews).toBe(false)
          continue
        }
        if (at > epoch) model.clear()
        epoch = at
        for (const [offset, fill] of fills.entries()) {
          const known = model.get(first + offset)
          const isConfirmed = status === 'confirmed'
          if (!known || (isConfirmed && !known.isConfirmed)) model.set(first + offset, { fill, isConfirmed })
        }
        expect(hashes.epoch).toBe(epoch)
        for (let piece = 0; piece < 20; piece++) {
          const known = model.get(piece)
          expect(hashes.has(piece as PieceIndex)).toBe(known !== undefined)
          expect(hashes.get(piece as PieceIndex)?.[0]).toBe(known?.fill)
        }
        expect(hashes.isComplete).toBe(model.size === 20)
        expect(hashes.isConfirmed).toBe(
          model.size === 20 && [...model.values()].every((known) => known.isConfirmed),
        )
      }
      // What is kept is enough for another node to know the same.
      const other = new PieceHashes(20)
      for (const batch of hashes.batches) other.add(batch)
      for (const piece of model.keys())
        expect(other.get(piece as PieceIndex)).toEqual(hashes.get(piece as PieceIndex))
    }),
  )
})

test('the request window stays within its bounds whatever arrives when', () => {
  const events = fc.array(fc.tuple(fc.nat(10_000_000), fc.nat(3000), fc.boolean()), { maxLength: 100 })
  fc.assert(
    fc.property(events, (events) => {
      let nowMs = 0
      const window = new RequestWindow(nowMs)
      for (const [bytes, passedMs, isResumed] of events) {
        nowMs += passedMs
        if (isResumed) window.resume(nowMs)
        window.received(bytes, nowMs)
        expect(window.bytes).toBeGreaterThanOrEqual(WINDOW_BYTES_MIN)
        expect(window.bytes).toBeLessThanOrEqual(WINDOW_BYTES_MAX)
      }
    }),
  )
})

test('the request window follows a fast peer up and a slow one down', () => {
  const window = new RequestWindow(0)
  for (let at = 1; at <= 20; at++) window.received(2_000_000, at * 30)
  expect(window.bytes).toBeGreaterThan(3_000_000)
  for (let at = 21; at <= 60; at++) window.received(1000, at * 30)
  expect(window.bytes).toBe(WINDOW_BYTES_MIN)
})

class FakeLane implements UploadLane {
  readonly queue: UploadLane['queue'] = []
  piece: number | undefined
  isOpen = true
  canWrite = () => this.isOpen
  had = 0
  piecesHad = () => this.had
  isUnsent = false
  isSending = () => this.isUnsent
  isStalled = () => !this.isOpen
}

const queueOptions = (some: Partial<UploadQueueOptions> = {}): UploadQueueOptions => ({
  isSeed: () => false,
  piecesHad: () => Number.POSITIVE_INFINITY,
  holdersOf: () => 0,
  nowMs: () => 0,
  random: () => 0,
  ...some,
})

test('the upload queue answers every request once, piece by piece, at most four peers at a time', () => {
  const requests = fc.array(fc.tuple(fc.nat(7), fc.nat(9), fc.nat(3)), { maxLength: 80 })
  fc.assert(
    fc.property(requests, fc.array(fc.nat(7), { maxLength: 80 }), (requests, toggles) => {
      const queue = new UploadQueue({ pieceCount: 10, pieceBytes: 1 }, queueOptions())
      const lanes = Array.from({ length: 8 }, () => new FakeLane())
      for (const lane of lanes) queue.add(lane)
      for (const [lane, piece, block] of requests)
        lanes[lane]!.queue.push({ piece, begin: block * 100, length: 100 })
      let served = 0
      for (const toggled of [...toggles, undefined]) {
        if (toggled !== undefined) lanes[toggled]!.isOpen = !lanes[toggled]!.isOpen
        else for (const lane of lanes) lane.isOpen = true
        for (let next = queue.peek(); next; next = queue.peek()) {
          const { lane, block } = next
          expect(lane.canWrite()).toBe(true)
          expect(lane.queue).toContain(block)
          expect(lane.piece).toBe(block.piece)
          const busy = lanes.filter((other) => other.piece !== undefined && other.canWrite())
          expect(busy.length).toBeLessThanOrEqual(SERVED_AT_ONCE_MAX + toggles.length)
          queue.taken(next)
          served += 1
          if (toggled !== undefined) break
        }
      }
      expect(served).toBe(requests.length)
    }),
  )
})

test('pieces that were never sent go first', () => {
  const queue = new UploadQueue({ pieceCount: 3, pieceBytes: 1 }, queueOptions())
  const lane = new FakeLane()
  queue.add(lane)
  const order: number[] = []
  for (const pieces of [[0], [0, 1], [0, 1, 2], [2, 0]]) {
    lane.queue.push(...pieces.map((piece) => ({ piece, begin: 0, length: 1 })))
    const next = queue.peek()!
    order.push(next.block.piece)
    queue.taken(next)
    lane.queue.length = 0
    lane.piece = undefined
  }
  expect(order).toEqual([0, 1, 2, 2])
})

test('of peers that ask for pieces sent equally often, each has its turn', () => {
  const queue = new UploadQueue({ pieceCount: 12, pieceBytes: 1 }, queueOptions())
  const lanes = [0, 1, 2].map(() => new FakeLane())
  for (const lane of lanes) queue.add(lane)
  for (let piece = 0; piece < 12; piece += 1) lanes[piece % 3]!.queue.push({ piece, begin: 0, length: 1 })
  const order: number[] = []
  for (let next = queue.peek(); next; next = queue.peek()) {
    order.push(lanes.indexOf(next.lane as FakeLane))
    queue.taken(next)
  }
  expect(order).toEqual([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2])
})

test('scarce pieces go out before common ones, sent before or not, whoever requests them', () => {
  const holders = [2, 1, 2]
  const queue = new UploadQueue(
    { pieceCount: 3, pieceBytes: 1 },
    queueOptions({ holdersOf: (piece) => holders[piece]! }),
  )
  // Eight ask for nothing: of ten, one is few.
  const lanes = Array.from({ length: 10 }, () => new FakeLane())
  for (const lane of lanes) queue.add(lane)
  const [poor, rich] = [lanes[0]!, lanes[1]!]
  rich.had = 1
  const order: string[] = []
  for (let round = 0; round < 2; round += 1) {
    // What many have was sent in neither round.
    poor.queue.push({ piece: round === 0 ? 0 : 2, begin: 0, length: 1 })
    rich.queue.push({ piece: 1, begin: 0, length: 1 })
    for (let next = queue.peek(); next; next = queue.peek()) {
      order.push(next.lane === poor ? 'poor' : 'rich')
      queue.taken(next)
    }
  }
  expect(order).toEqual(['rich', 'poor', 'rich', 'poor'])
})

test('a node with almost no pieces serves one peer at a time, and more with more pieces', () => {
  let had = 0
  const queue = new UploadQueue({ pieceCount: 64, pieceBytes: 1 }, queueOptions({ piecesHad: () => had }))
  const lanes = Array.from({ length: 8 }, () => new FakeLane())
  for (const [piece, lane] of lanes.entries()) {
    queue.add(lane)
    lane.queue.push({ piece, begin: 0, length: 1 })
  }
  const serveMore = () => {
    let served = 0
    while (serveNext(queue, lanes) !== undefined) served += 1
    return served
  }
  expect(serveMore()).toBe(1)
  had = 4
  expect(serveMore()).toBe(1)
  had = 60
  expect(serveMore()).toBe(2)
})

test('a seed serves one peer, then one more for every two turns that have ended, up to six, and begins anew', () => {
  const queue = new UploadQueue({ pieceCount: 64, pieceBytes: 1 }, queueOptions({ isSeed: () => true }))
  const lanes = Array.from({ length: 10 }, () => new FakeLane())
  for (const lane of lanes) queue.add(lane)
  let piece = 0
  const serveMore = () => {
    for (const lane of lanes)
      if (lane.queue.length === 0) lane.queue.push({ piece: piece++, begin: 0, length: 1 })
    while (serveNext(queue, lanes) !== undefined);
    return lanes.filter(({ isUnsent }) => isUnsent).length
  }
  const confirm = (count: number) => {
    for (const lane of lanes.filter(({ isUnsent }) => isUnsent).slice(0, count)) lane.isUnsent = false
  }
  expect(serveMore()).toBe(1)
  confirm(1)
  expect(serveMore()).toBe(1)
  confirm(1)
  expect(serveMore()).toBe(2)
  for (let round = 0; round < 12; round += 1) {
    confirm(2)
    serveMore()
  }
  expect(serveMore()).toBe(6)
  confirm(6)
  for (const lane of lanes) lane.queue.length = 0
  expect(queue.peek()).toBeUndefined()
  lanes.push(new FakeLane())
  queue.add(lanes.at(-1)!)
  expect(serveMore()).toBe(1)
})

test('a seed that begins serves another peer when the first is slow', () => {
  let nowMs = 0
  const options = queueOptions({ isSeed: () => true, nowMs: () => nowMs })
  const queue = new UploadQueue({ pieceCount: 64, pieceBytes: 1 }, options)
  const lanes = Array.from({ length: 3 }, () => new FakeLane())
  for (const [piece, lane] of lanes.entries()) {
    queue.add(lane)
    lane.queue.push({ piece, begin: 0, length: 1 })
  }
  expect([serveNext(queue, lanes), serveNext(queue, lanes)]).toEqual([0, undefined])
  nowMs = 10_000
  expect([serveNext(queue, lanes), serveNext(queue, lanes)]).toEqual([1, undefined])
})

test('peers never served come in random order, whoever connected first', () => {
  const numbers = [0.2, 0.9, 0.5]
  const queue = new UploadQueue(
    { pieceCount: 3, pieceBytes: 1 },
    queueOptions({ random: () => numbers.shift()! }),
  )
  const lanes = [0, 1, 2].map(() => new FakeLane())
  for (const lane of lanes) queue.add(lane)
  for (const [piece, lane] of lanes.entries()) lane.queue.push({ piece, begin: 0, length: 1 })
  const order: number[] = []
  for (let next = queue.peek(); next; next = queue.peek()) {
    order.push(lanes.indexOf(next.lane as FakeLane))
    queue.taken(next)
  }
  expect(order).toEqual([1, 2, 0])
})

test('the peer with the fewest pieces comes first for pieces sent before, but nobody is passed over for ever', () => {
  const queue = new UploadQueue({ pieceCount: 2, pieceBytes: 1 }, queueOptions())
  const [rich, poor] = [new FakeLane(), new FakeLane()]
  rich.had = 1
  for (const lane of [rich, poor]) queue.add(lane)
  const ask = (lane: FakeLane) => lane.queue.push({ piece: 0, begin: 0, length: 1 })
  const serve = () => {
    const next = queue.peek()!
    queue.taken(next)
    return next.lane === rich ? 'rich' : 'poor'
  }
  ask(rich)
  expect(serve()).toBe('rich')
  ask(rich)
  const served: string[] = []
  while (!served.includes('rich')) {
    ask(poor)
    served.push(serve())
  }
  expect(served.length).toBeGreaterThan(8)
  expect(served.length).toBeLessThan(64)
})

/** @returns which lane sends a block, that does not arrive yet; undefined when none does */
function serveNext(queue: UploadQueue, lanes: FakeLane[]): number | undefined {
  const next = queue.peek()
  if (!next) return undefined
  const lane = next.lane as FakeLane
  lane.isUnsent = true
  queue.taken(next)
  return lanes.indexOf(lane)
}

test('a turn lasts until the sent piece has arrived, and a peer alone need not wait for that', () => {
  const queue = new UploadQueue({ pieceCount: 16, pieceBytes: 1 }, queueOptions())
  const lanes = Array.from({ length: SERVED_AT_ONCE_MAX + 2 }, () => new FakeLane())
  const serve = () => serveNext(queue, lanes)
  queue.add(lanes[0]!)
  for (let piece = 0; piece < 3; piece += 1) lanes[0]!.queue.push({ piece, begin: 0, length: 1 })
  expect([serve(), serve()]).toEqual([0, 0])
  for (const lane of lanes.slice(1)) {
    queue.add(lane)
    lane.queue.push({ piece: 5, begin: 0, length: 1 })
  }
  const others = lanes.slice(1, SERVED_AT_ONCE_MAX).map((_, index) => index + 1)
  expect(others.map(serve)).toEqual(others)
  expect(serve()).toBeUndefined()
  lanes[1]!.isUnsent = false
  expect(serve()).toBe(SERVED_AT_ONCE_MAX)
  expect(serve()).toBeUndefined()
  // Nothing is heard of it any more.
  lanes[2]!.isOpen = false
  expect(serve()).toBe(SERVED_AT_ONCE_MAX + 1)
})

test('a piece that was sent once, in however many requests, waits behind those that were not', () => {
  const queue = new UploadQueue({ pieceCount: 3, pieceBytes: 1 }, queueOptions())
  const [behind, ahead] = [new FakeLane(), new FakeLane()]
  for (const lane of [behind, ahead]) queue.add(lane)
  const order: number[] = []
  const ask = (lane: FakeLane, piece: number, begin: number) => lane.queue.push({ piece, begin, length: 1 })
  const serve = () => {
    const next = queue.peek()!
    order.push(lanes.indexOf(next.lane as FakeLane) * 10 + next.block.piece)
    queue.taken(next)
  }
  const lanes = [behind, ahead]
  for (const begin of [0, 1]) {
    ask(ahead, 0, begin)
    serve()
  }
  ask(ahead, 1, 0)
  serve()
  // Both were sent: who waited longer is next, although piece 0 was sent in more requests.
  ask(ahead, 1, 1)
  ask(behind, 0, 0)
  serve()
  ask(behind, 0, 1)
  ask(behind, 2, 0)
  serve()
  expect(order).toEqual([10, 10, 11, 0, 2])
})

const nodeOf = (at: number) => at.toString(16).padStart(40, '0') as NodeId
const peerOf = (at: number) => ({ node: nodeOf(at), address: '127.0.0.1', port: 1 + at, isSeed: false })

test('banned peers are never due, failed ones wait longer each time, and only so many are remembered', () => {
  const events = fc.array(
    fc.tuple(fc.constantFrom('add', 'ban', 'postpone', 'connected', 'pass'), fc.nat(400)),
    { maxLength: 300 },
  )
  fc.assert(
    fc.property(events, (events) => {
      const peers = new KnownPeers()
      const banned = new Set<NodeId>()
      let nowMs = 0
      for (const [kind, at] of events) {
        if (kind === 'add') peers.add([peerOf(at)])
        else if (kind === 'ban') {
          peers.ban(nodeOf(at))
          banned.add(nodeOf(at))
        } else if (kind === 'postpone') peers.postpone(nodeOf(at), nowMs)
        else if (kind === 'connected') peers.connected(nodeOf(at), nowMs)
        else nowMs += at * 10
        const due = peers.due(nowMs, 5, ANY)
        expect(due.length).toBeLessThanOrEqual(5)
        expect(due.some(({ node }) => banned.has(node))).toBe(false)
        expect(peers.size).toBeLessThanOrEqual(200)
      }
    }),
  )
  const peers = new KnownPeers()
  peers.add([peerOf(1)])
  let nowMs = 0
  const waits: number[] = []
  for (let failure = 0; failure < 8; failure++) {
    const from = nowMs
    peers.postpone(nodeOf(1), nowMs)
    while (peers.due(nowMs, 1, ANY).length === 0) nowMs += 100
    waits.push(nowMs - from)
  }
  expect(waits).toEqual([1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000])
})

test('what is banned stays banned however often it is added again', () => {
  const peers = new KnownPeers()
  peers.ban(nodeOf(1))
  for (let round = 0; round < 300; round++) peers.add([peerOf(1), peerOf(round + 2)])
  expect(peers.isBanned(nodeOf(1))).toBe(true)
  expect(peers.due(0, 1000, ANY).map(({ node }) => node)).not.toContain(nodeOf(1))
})

test('a peer that is held up keeps a place only for a while, and a turn that brought a part says nothing of how long', () => {
  let nowMs = 0
  const options = queueOptions({ piecesHad: () => 4, nowMs: () => nowMs })
  const queue = new UploadQueue({ pieceCount: 16, pieceBytes: 4 }, options)
  const lanes = Array.from({ length: 4 }, () => new FakeLane())
  const ask = (lane: FakeLane, length: number) => lane.queue.push({ piece: 1, begin: 0, length })
  const serve = () => serveNext(queue, lanes)
  for (const lane of lanes) queue.add(lane)
  for (const lane of lanes.slice(0, 3)) ask(lane, 1)
  expect([serve(), serve(), serve()]).toEqual([0, 1, undefined])
  lanes[0]!.isUnsent = false
  nowMs = 3
  expect(serve()).toBe(2)
  ask(lanes[3]!, 4)
  nowMs = 300
  expect(serve(), 'the turn of 3 ms was one block of four').toBeUndefined()
  nowMs = 649
  expect(serve(), 'before 1.3 times the 500 ms that are taken for the fastest').toBeUndefined()
  nowMs = 651
  expect(serve()).toBe(3)
})
