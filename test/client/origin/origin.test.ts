import { setTimeout } from 'node:timers/promises'
import pino from 'pino'
import { afterEach, expect, test, vi } from 'vitest'
import { RangeIgnoredError } from '../../../client/errors.ts'
import { PEERS_BACK_PIECES } from '../../../client/origin/fallback-run.ts'
import { Origin } from '../../../client/origin/origin.ts'
import type { OriginHost } from '../../../client/origin/origin-host.ts'
import type { PeersReach } from '../../../client/origin/origin-plan.ts'
import { RegistryStream } from '../../../client/origin/registry-stream.ts'
import { Bitfield } from '../../../client/store/bitfield.ts'
import { PieceBuffers } from '../../../client/store/piece-buffers.ts'
import type { PieceIndex, SwarmId } from '../../../core/metainfo.ts'
import type { HashesRequest, Lease, Peer } from '../../../core/tracker-api.ts'
import { noteDefects } from '../../core/noted-defects.ts'

const PIECE_BYTES = 1024
const PIECES = 8
/** The time that a piece takes, where it matters. */
const PIECE_MS = 20
const origins: Origin[] = []
afterEach(() => {
  for (const origin of origins.splice(0)) origin.stop()
  vi.useRealTimers()
})

/** A swarm in which nobody offers anything, and a registry that answers when `open` is called. */
function setUp({
  isRangeless = false,
  status = 'cold',
  limitedMs = 0,
  leaseEnd,
  reach = 'none',
}: {
  reach?: PeersReach
  isRangeless?: boolean
  limitedMs?: number
  /** The tracker's answer to a publication; null: the lease is another node's by now. */
  leaseEnd?: number | null
  status?: 'cold' | 'claimed'
} = {}) {
  const have = new Bitfield(PIECES)
  const startedAtMs = performance.now()
  const calls: Omit<HashesRequest, 'pull'>[] = []
  /** Pieces that left the registry. */
  const read: number[] = []
  const ranges: { from: number; to: number }[] = []
  let open = () => {}
  let answerCall = async (): Promise<Lease | null> => null
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  const layout = { blobBytes: PIECES * PIECE_BYTES, pieceBytes: PIECE_BYTES, pieceCount: PIECES }
  async function* answer(from: number, to: number) {
    ranges.push({ from, to })
    await opened
    if (isRangeless) throw new RangeIgnoredError('the registry ignores Range')
    for (let piece = from; piece < to; piece += 1) {
      if (leaseEnd !== undefined) await setTimeout(PIECE_MS)
      read.push(piece)
      yield [Buffer.alloc(PIECE_BYTES)]
    }
  }
  const host: OriginHost = {
    layout,
    have,
    epoch: 0,
    buffers: new PieceBuffers().share(),
    log: pino({ level: 'silent' }),
    boundary: noteDefects().boundary,
    position: () => 0,
    place: () => ({ at: 0, of: 1 }),
    isNeeded: () => true,
    isOutOfReach: (piece) => !have.has(piece),
    firstUnknownHash: () => 0,
    claim: () => {},
    unclaim: () => {},
    peersIdleMs: () => performance.now() - startedAtMs,
    peersReach: () => reach,
    isTrackerOff: () => false,
    access: {
      areRangesIgnored: false,
      endsAtMs: undefined,
      limitedMs,
      stream: (first, end, signal) =>
        new RegistryStream({
          layout,
          firstPiece: first,
          chunks: answer(first, end),
          allowDownload: () => 0,
          signal,
        }),
    },
    async storeFromRegistry(piece, buffer) {
      host.buffers.release(buffer)
      have.add(piece)
      return Buffer.alloc(32)
    },
    async askHashes(request) {
      calls.push(request)
      return {
        epoch: 0,
        status,
        ...(request.requestedTo !== undefined && leaseEnd !== undefined && { leaseEnd }),
        batches: [],
        peers: status === 'cold' ? [] : [{} as Peer],
        lease: await answerCall(),
        retryInMs: status === 'cold' ? 60_000 : null,
      }
    },
    starved: () => {},
    learn: () => {},
  }
  const origin = new Origin(host)
  origins.push(origin)
  const answerWith = (answer: typeof answerCall) => {
    answerCall = answer
  }
  return { origin, have, calls, ranges, read, open, answerWith }
}

const leaseOf = (firstPiece: number): Lease => ({
  lease: `lease-${firstPiece}`,
  swarm: 'a'.repeat(64) as SwarmId,
  firstPiece: firstPiece as PieceIndex,
  pieces: 2,
  expiresInMs: 60_000,
})

test('a lease that arrives before its reader is followed when the reader arrives', async () => {
  const { origin, have, ranges, open } = setUp()
  origin.offer(leaseOf(2))
  expect(ranges).toEqual([])
  open()
  origin.start()
  await vi.waitFor(() => expect([2, 3].every((piece) => have.has(piece as PieceIndex))).toBe(true))
  expect(ranges).toEqual([{ from: 2, to: 4 }])
})

test('a second lease is followed beside the first; a third goes back at once', async () => {
  const { origin, calls, ranges, open } = setUp()
  origin.offer(leaseOf(0))
  origin.start()
  origin.offer(leaseOf(2))
  origin.offer(leaseOf(4))
  const released = () => calls.filter((call) => call.isLeaseReleased).map((call) => call.lease)
  await vi.waitFor(() => expect(released()).toEqual(['lease-4']))
  open()
  await vi.waitFor(() => expect(origin.isDone).toBe(true))
  expect(ranges).toEqual([
    { from: 0, to: 2 },
    { from: 2, to: 4 },
  ])
})

test.each([
  { name: 'ends where another node took the rest', leaseEnd: 5 },
  { name: 'ends with the piece that arrives when the lease is lost', leaseEnd: null },
])('a late request $name', async ({ leaseEnd }) => {
  const { origin, have, calls, ranges, read, open } = setUp({ leaseEnd, reach: 'linked' })
  origin.offer({ ...leaseOf(0), pieces: PIECES, endPiece: PIECES })
  open()
  origin.start()
  await vi.waitFor(() => expect(origin.isDone).toBe(true))
  expect(ranges).toEqual([{ from: 0, to: PIECES }])
  const last = leaseEnd === null ? 3 : leaseEnd
  expect(read.length).toBeLessThanOrEqual(last)
  expect(have.count).toBe(read.length)
  expect(calls.filter(({ isLeaseReleased }) => isLeaseReleased)).toEqual([])
})

test.each([
  { reach: 'none', name: 'go together while the node knows nobody else', callsMax: 1 },
  { reach: 'linked', name: 'go at once to those who wait for them', callsMax: PIECES },
] as const)('hashes $name', async ({ reach, callsMax }) => {
  const { origin, calls, open } = setUp({ leaseEnd: PIECES, reach })
  origin.offer({ ...leaseOf(0), pieces: PIECES, endPiece: PIECES })
  open()
  origin.start()
  await vi.waitFor(() => expect(origin.isDone).toBe(true))
  const publications = calls.filter(({ hashes }) => hashes !== '').length
  expect(publications).toBeLessThanOrEqual(callsMax)
  expect(publications > 1).toBe(reach === 'linked')
})

test('a lease requested before the registry ignored a range is released at once', async () => {
  const { origin, calls, ranges, open, answerWith } = setUp({ isRangeless: true })
  let answer = (_: Lease | null) => {}
  const answered = new Promise<Lease | null>((resolve) => {
    answer = resolve
  })
  answerWith(() => answered)
  origin.offer(leaseOf(0))
  origin.start()
  origin.tick()
  await vi.waitFor(() => expect(calls).toHaveLength(1))
  open()
  await vi.waitFor(() => expect(origin.isDone).toBe(true))
  answerWith(async () => null)
  answer(leaseOf(4))
  const released = () => calls.filter((call) => call.isLeaseReleased).map((call) => call.lease)
  await vi.waitFor(() => expect(released().sort()).toEqual(['lease-0', 'lease-4']))
  expect(ranges).toEqual([{ from: 0, to: 2 }])
})

test('a node that receives nothing tells the tracker which pieces it waits for, before it fetches alone', async () => {
  vi.useFakeTimers({ toFake: ['Date', 'performance'] })
  const { origin, calls, open, ranges, answerWith } = setUp({ status: 'claimed' })
  open()
  answerWith(async () => null)
  origin.start()
  origin.tick()
  await vi.waitFor(() => expect(calls).toHaveLength(1))
  expect(calls[0]).not.toHaveProperty('awaited')
  vi.advanceTimersByTime(2_000)
  const leases = [leaseOf(4)]
  answerWith(async () => leases.shift() ?? null)
  await vi.waitFor(() => {
    origin.tick()
    expect(ranges).toEqual([{ from: 4, to: 6 }])
  })
  expect(calls[1]!.awaited).toEqual([{ firstPiece: 0, pieces: PIECES }])
})

test('a node that the registry told to wait says so to the tracker', async () => {
  const { origin, calls, open } = setUp({ limitedMs: 5_000 })
  // The end tells that this tracker knows the field.
  origin.offer({ ...leaseOf(0), endPiece: 2 as PieceIndex })
  open()
  origin.start()
  await vi.waitFor(() => expect(calls[0]).toMatchObject({ lease: 'lease-0', registryLimitedMs: 5_000 }))
})

test.each([
  { name: 'gives up its rest when peers are back', back: PEERS_BACK_PIECES, readMost: 2 },
  {
    name: 'goes on beside a peer that gives less than the registry',
    back: PEERS_BACK_PIECES - 1,
    readMost: PIECES,
  },
])('a fetch without a lease $name', async ({ back, readMost }) => {
  vi.useFakeTimers({ toFake: ['Date', 'performance'] })
  // The delay of each piece, as where leases end.
  const { origin, read, open } = setUp({ leaseEnd: PIECES })
  origin.start()
  vi.advanceTimersByTime(4_000)
  origin.tick()
  origin.tick()
  await vi.waitFor(() => expect(origin.isDone).toBe(false))
  for (let piece = 0; piece < back; piece += 1) origin.moved('peer')
  open()
  await vi.waitFor(() => expect(origin.isDone).toBe(true))
  if (readMost === PIECES) expect(read).toHaveLength(PIECES)
  else expect(read.length).toBeLessThanOrEqual(readMost)
})
