import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PeerProtocolError } from '../../../client/errors.ts'
import {
  decodeExtensionHandshake,
  decodeHashBatch,
  decodeProof,
  encodeExtensionHandshake,
  encodeHashBatch,
  encodeProof,
} from '../../../client/wire/extensions.ts'
import { FrameReader } from '../../../client/wire/frame-reader.ts'
import { decodeHandshake, encodeHandshake, type Handshake } from '../../../client/wire/handshake.ts'
import {
  BLOCK_HEADER_BYTES,
  decodeMessage,
  encodeMessage,
  FRAME_BYTES_MAX,
  type Message,
  writeBlockHeader,
} from '../../../client/wire/messages.ts'
import type { NodeId, SwarmId } from '../../../core/metainfo.ts'

const u32 = fc.integer({ min: 0, max: 0xffffffff })
const hex40 = fc
  .uint8Array({ minLength: 20, maxLength: 20 })
  .map((bytes) => Buffer.from(bytes).toString('hex'))
const bytes = (maxLength: number, minLength = 0) =>
  fc.uint8Array({ minLength, maxLength }).map((data) => Buffer.from(data))

const handshake: fc.Arbitrary<Handshake> = fc.record({
  swarm: hex40.map((text) => text as SwarmId),
  peer: hex40.map((text) => text as NodeId),
  hasFast: fc.boolean(),
  hasExtensions: fc.boolean(),
})

type Sendable = Exclude<Message, { type: 'unknown' }>
const message: fc.Arbitrary<Sendable> = fc.oneof(
  fc
    .constantFrom('choke', 'unchoke', 'interested', 'not-interested', 'have-all', 'have-none')
    .map((type) => ({ type }) as Sendable),
  fc.record({
    type: fc.constantFrom('have', 'suggest', 'allowed-fast'),
    piece: u32,
  }) as fc.Arbitrary<Sendable>,
  fc.record({
    type: fc.constantFrom('request', 'cancel', 'reject'),
    piece: u32,
    begin: u32,
    length: u32,
  }) as fc.Arbitrary<Sendable>,
  fc.record({ type: fc.constant('bitfield'), bits: bytes(300) }) as fc.Arbitrary<Sendable>,
  fc.record({
    type: fc.constant('extended'),
    extension: fc.nat(255),
    payload: bytes(2000),
  }) as fc.Arbitrary<Sendable>,
)
const block = fc.record({ piece: u32, begin: u32, data: bytes(3000, 1) })
const keepAlive = fc.constant('keep-alive' as const)

function blockFrame({ piece, begin, data }: { piece: number; begin: number; data: Buffer }): Buffer {
  const frame = Buffer.alloc(BLOCK_HEADER_BYTES + data.length)
  writeBlockHeader(frame, { piece, begin, length: data.length })
  data.copy(frame, BLOCK_HEADER_BYTES)
  return frame
}

/** Everything that a reader tells, in order; blocks with their bytes. */
function listener(): { events: unknown[]; reader: FrameReader } {
  const events: unknown[] = []
  let target: Buffer
  const reader = new FrameReader({
    onKeepAlive: () => undefined,
    onHandshake: (handshake) => void events.push(handshake),
    onMessage: (message) => void events.push(message),
    onBlockStart: ({ length }) => {
      target = Buffer.alloc(length)
      return target
    },
    onBlockEnd: ({ piece, begin }) => void events.push({ piece, begin, data: target }),
  })
  return { events, reader }
}

function pushInChunks(reader: FrameReader, stream: Buffer, cuts: number[]): void {
  let from = 0
  for (const cut of cuts) {
    const to = Math.min(stream.length, from + cut)
    const chunk = Buffer.from(stream.subarray(from, to))
    reader.push(chunk)
    // The caller uses its buffer again.
    chunk.fill(0xff)
    from = to
  }
  reader.push(stream.subarray(from))
}

test('a stream means the same however it is cut into chunks', () => {
  const frames = fc.array(fc.oneof(message, block, keepAlive), { maxLength: 12 })
  const cuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 2000 })), {
    maxLength: 200,
  })
  fc.assert(
    fc.property(handshake, frames, cuts, (opening, frames, cuts) => {
      const parts = frames.map((frame) => {
        if (frame === 'keep-alive') return Buffer.alloc(4)
        return 'data' in frame ? blockFrame(frame) : encodeMessage(frame)
      })
      const { events, reader } = listener()
      pushInChunks(reader, Buffer.concat([encodeHandshake(opening), ...parts]), cuts)
      expect(events).toEqual([opening, ...frames.filter((frame) => frame !== 'keep-alive')])
    }),
    { numRuns: 400 },
  )
})

test('no stream makes a reader fail otherwise than with PEER_PROTOCOL, or hold more than a frame', () => {
  const noise = fc.array(fc.oneof(bytes(400), message.map(encodeMessage), fc.constant(Buffer.alloc(4))), {
    maxLength: 20,
  })
  fc.assert(
    fc.property(handshake, noise, fc.boolean(), (opening, noise, isHandshaken) => {
      const { reader } = listener()
      try {
        if (isHandshaken) reader.push(encodeHandshake(opening))
        for (const chunk of noise) reader.push(chunk)
      } catch (error) {
        expect(error).toBeInstanceOf(PeerProtocolError)
      }
      expect(heldBytes(reader)).toBeLessThanOrEqual(4 + FRAME_BYTES_MAX)
    }),
    { numRuns: 2000 },
  )
})

const heldBytes = (reader: FrameReader) => reader.bufferBytes

test('a frame above the bound is refused on its length alone, a frame of exactly the bound is not', () => {
  const lengths = fc.oneof(
    fc.integer({ min: FRAME_BYTES_MAX + 1, max: 0xffffffff }),
    fc.constantFrom(FRAME_BYTES_MAX + 1, 2 ** 31, 2 ** 32 - 1),
  )
  fc.assert(
    fc.property(handshake, lengths, (opening, length) => {
      const { reader } = listener()
      reader.push(encodeHandshake(opening))
      const head = Buffer.alloc(4)
      head.writeUInt32BE(length)
      expect(() => reader.push(Buffer.concat([head, Buffer.of(20)]))).toThrow(PeerProtocolError)
      expect(heldBytes(reader)).toBeLessThan(2048)
    }),
  )
  const { reader, events } = listener()
  reader.push(
    encodeHandshake({
      swarm: 'a'.repeat(40) as SwarmId,
      peer: 'b'.repeat(40) as NodeId,
      hasFast: true,
      hasExtensions: true,
    }),
  )
  reader.push(encodeMessage({ type: 'extended', extension: 2, payload: Buffer.alloc(FRAME_BYTES_MAX - 2) }))
  expect(events).toHaveLength(2)
})

test('a discarded block is read to its end and goes nowhere', () => {
  fc.assert(
    fc.property(block, fc.nat(100), (block, percent) => {
      const target = Buffer.alloc(block.data.length)
      const ends: unknown[] = []
      const reader = new FrameReader({
        onKeepAlive: () => undefined,
        onHandshake: () => undefined,
        onMessage: (message) => void ends.push(message),
        onBlockStart: () => target,
        onBlockEnd: () => void ends.push('end'),
      })
      reader.push(
        encodeHandshake({
          swarm: 'a'.repeat(40) as SwarmId,
          peer: 'b'.repeat(40) as NodeId,
          hasFast: true,
          hasExtensions: true,
        }),
      )
      const frame = blockFrame(block)
      const cut = BLOCK_HEADER_BYTES + Math.floor(((block.data.length - 1) * percent) / 100)
      reader.push(frame.subarray(0, cut))
      reader.discardBlock()
      const before = Buffer.from(target)
      reader.push(Buffer.concat([frame.subarray(cut), encodeMessage({ type: 'choke' })]))
      expect(target.equals(before)).toBe(true)
      expect(ends).toEqual(['end', { type: 'choke' }])
    }),
  )
})

test('messages and handshakes decode to what was encoded', () => {
  fc.assert(
    fc.property(
      message,
      (message) => void expect(decodeMessage(encodeMessage(message).subarray(4))).toEqual(message),
    ),
  )
  fc.assert(
    fc.property(
      handshake,
      (handshake) => void expect(decodeHandshake(encodeHandshake(handshake))).toEqual(handshake),
    ),
  )
})

test('no bytes make a decoder fail otherwise than with PEER_PROTOCOL', () => {
  const decoders: ((bytes: Buffer) => unknown)[] = [
    decodeMessage,
    decodeHandshake,
    decodeExtensionHandshake,
    decodeProof,
    (payload) => decodeHashBatch(payload, 'a'.repeat(40) as SwarmId),
  ]
  fc.assert(
    fc.property(fc.constantFrom(...decoders), bytes(300, 1), (decode, input) => {
      try {
        decode(input)
      } catch (error) {
        expect(error).toBeInstanceOf(PeerProtocolError)
      }
    }),
    { numRuns: 3000 },
  )
})

test('an extension handshake says what was put into it, within bounds', () => {
  const shape = fc.record({
    requestsQueuedMax: fc.nat(5000),
    blockBytesMax: fc.nat(1 << 20),
    isUploadOnly: fc.boolean(),
    version: fc.string(),
  })
  fc.assert(
    fc.property(shape, (sent) => {
      const received = decodeExtensionHandshake(encodeExtensionHandshake(sent))
      expect(received.isUploadOnly).toBe(sent.isUploadOnly)
      expect(received.ids).toEqual({ shoal_proof: 1, shoal_hashes: 2, shoal_certificate: 3 })
      expect(received.requestsQueuedMax).toBeGreaterThan(0)
      expect(received.requestsQueuedMax).toBeLessThanOrEqual(2000)
      expect(received.blockBytesMax).toBeGreaterThanOrEqual(16 * 1024)
      expect(received.blockBytesMax).toBeLessThanOrEqual(128 * 1024)
      if (sent.requestsQueuedMax > 0 && sent.requestsQueuedMax <= 2000)
        expect(received.requestsQueuedMax).toBe(sent.requestsQueuedMax)
    }),
  )
})

test('proofs and hash batches decode to what was encoded', () => {
  const proof = fc.record({ signingInput: fc.stringMatching(/^[A-Za-z0-9_.-]{1,200}$/), proof: bytes(3000) })
  fc.assert(fc.property(proof, (proof) => void expect(decodeProof(encodeProof(proof))).toEqual(proof)))
  const batch = fc.record({
    swarm: hex40.map((text) => text as SwarmId),
    epoch: fc.nat(),
    status: fc.constantFrom('claimed' as const, 'confirmed' as const),
    firstPiece: fc.nat(2 ** 18),
    hashes: fc.integer({ min: 1, max: 20 }).map((pieces) => Buffer.alloc(pieces * 32, 7)),
    signature: bytes(64, 64),
  })
  fc.assert(
    fc.property(
      batch,
      (batch) => void expect(decodeHashBatch(encodeHashBatch(batch), batch.swarm)).toEqual(batch),
    ),
  )
})

test('the largest batch fits a frame', () => {
  const batch = {
    swarm: 'a'.repeat(40) as SwarmId,
    epoch: 2 ** 50,
    status: 'confirmed',
    firstPiece: 2 ** 18,
  } as const
  const payload = encodeHashBatch({ ...batch, hashes: Buffer.alloc(4096 * 32), signature: Buffer.alloc(64) })
  expect(payload.length + 2).toBeLessThanOrEqual(FRAME_BYTES_MAX)
})
