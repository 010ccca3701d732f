import { afterAll, expect, test } from 'vitest'
import { Bitfield } from '../../../client/store/bitfield.ts'
import {
  decodeExtensionHandshake,
  decodeHashBatch,
  decodeProof,
  encodeExtensionHandshake,
  encodeHashBatch,
  encodeProof,
} from '../../../client/wire/extensions.ts'
import { FrameReader } from '../../../client/wire/frame-reader.ts'
import { decodeHandshake, encodeHandshake } from '../../../client/wire/handshake.ts'
import {
  decodeLinkHandshake,
  decodePullMessage,
  decodeSwarmMessage,
  encodeLinkHandshake,
  encodePullMessage,
  encodeSwarmMessage,
} from '../../../client/wire/link-messages.ts'
import {
  decodeMessage,
  encodeMessage,
  FRAME_BYTES_MAX,
  writeBlockHeader,
} from '../../../client/wire/messages.ts'
import { decodeBencode } from '../../../core/bencode.ts'
import { claimsFromNames } from '../../../core/certificate-claims.ts'
import { ShoalError } from '../../../core/errors.ts'
import type { NodeId, SwarmId } from '../../../core/metainfo.ts'
import { parseRegistryToken } from '../../../core/registry-token.ts'
import { hashBatchSchema } from '../../../core/tracker-api.ts'
import { makeSigner, pullClaims } from '../../core/signed-tokens.ts'

/**
 * A million inputs and more over every decoder that reads what peers send: valid messages, bent. Repeat a failure with
 * SHOAL_FUZZ_SEED; make it longer with SHOAL_FUZZ_TIMES.
 */
const SEED = Number(process.env.SHOAL_FUZZ_SEED ?? Date.now() % 2 ** 31)
const TIMES = Number(process.env.SHOAL_FUZZ_TIMES ?? 1)
let inputs = 0

/** Xorshift: fast, and the same everywhere. */
function generator(seed: number): () => number {
  let state = seed | 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
}

const INTERESTING = [0, 1, 0x7f, 0x80, 0xff, 0x2d, 0x30, 0x39, 0x3a, 0x64, 0x65, 0x69, 0x6c]
const NUMBERS = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, FRAME_BYTES_MAX, FRAME_BYTES_MAX + 1]

/** Bends a copy of the seed in up to four places: bits, bytes, numbers, cuts, repetitions. */
function bend(seed: Buffer, next: () => number): Buffer {
  let bytes = Buffer.from(seed)
  for (let round = next() % 4; round >= 0; round--) {
    const at = bytes.length === 0 ? 0 : next() % bytes.length
    switch (next() % 8) {
      case 0:
        if (bytes.length > 0) bytes[at]! ^= 1 << (next() % 8)
        break
      case 1:
        if (bytes.length > 0) bytes[at] = next()
        break
      case 2:
        if (bytes.length > 0) bytes[at] = INTERESTING[next() % INTERESTING.length]!
        break
      case 3:
        if (at + 4 <= bytes.length) bytes.writeUInt32BE(NUMBERS[next() % NUMBERS.length]!, at)
        break
      case 4:
        bytes = bytes.subarray(0, at)
        break
      case 5:
        bytes = Buffer.concat([
          bytes.subarray(0, at),
          Buffer.of(INTERESTING[next() % INTERESTING.length]!),
          bytes.subarray(at),
        ])
        break
      case 6:
        bytes = Buffer.concat([
          bytes.subarray(0, at),
          bytes.subarray(at, at + (next() % 16)),
          bytes.subarray(at),
        ])
        break
      default:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + (next() % 16))])
    }
  }
  return bytes
}

/** Runs `decode` on `count` bent seeds; only errors of Shoal's may come out. */
function fuzz(name: string, count: number, seeds: Buffer[], decode: (bytes: Buffer) => void): void {
  test(`${name}: ${count * TIMES} bent inputs, seed ${SEED}`, () => {
    const next = generator(SEED ^ (name.length * 2654435761))
    const heldBefore = process.memoryUsage().arrayBuffers
    let accepted = 0
    for (let run = 0; run < count * TIMES; run++) {
      const input = bend(seeds[next() % seeds.length]!, next)
      try {
        decode(input)
        accepted += 1
      } catch (error) {
        if (!(error instanceof ShoalError)) {
          throw new Error(`seed ${SEED}, ${name}, input ${input.toString('hex')}`, { cause: error })
        }
      }
    }
    inputs += count * TIMES
    // It neither takes everything nor nothing: the inputs are near enough to the truth.
    expect(accepted).toBeGreaterThan(0)
    expect(accepted).toBeLessThan(count * TIMES)
    expect(process.memoryUsage().arrayBuffers - heldBefore).toBeLessThan(64 * 1024 * 1024)
  }, 120_000)
}

const swarm = 'ab'.repeat(20) as SwarmId
const opening = encodeHandshake({
  swarm,
  peer: 'cd'.repeat(20) as NodeId,
  hasFast: true,
  hasExtensions: true,
})
const extension = encodeExtensionHandshake({
  requestsQueuedMax: 256,
  blockBytesMax: 131072,
  isUploadOnly: false,
  version: 'Shoal',
})
const proof = encodeProof({ signingInput: `${'a'.repeat(60)}.${'b'.repeat(60)}`, proof: Buffer.alloc(98, 3) })
const batch = {
  swarm,
  epoch: 3,
  status: 'claimed',
  firstPiece: 5,
  hashes: Buffer.alloc(96, 1),
  signature: Buffer.alloc(64, 2),
} as const
const encodedBatch = encodeHashBatch(batch)
const linkHandshake = encodeLinkHandshake({
  requestsQueuedMax: 256,
  blockBytesMax: 131072,
  listenPort: 7071,
  version: 'Shoal',
})
const pullMessages = [
  encodePullMessage({
    type: 'open',
    certificate: Buffer.alloc(300, 4),
    signature: Buffer.alloc(70, 5),
    proof: { signingInput: 'a.b', proof: Buffer.alloc(98, 3) },
  }),
  encodePullMessage({ type: 'closed', pull: '0f'.repeat(16) }),
]
const swarmMessages = [
  encodeSwarmMessage({ type: 'open', number: 7, swarm }),
  encodeSwarmMessage({ type: 'closed', number: 7 }),
]
const messages = [
  encodeMessage({ type: 'unchoke' }),
  encodeMessage({ type: 'have', piece: 3 }),
  encodeMessage({ type: 'bitfield', bits: Buffer.of(0xff, 0xf0) }),
  encodeMessage({ type: 'request', piece: 1, begin: 16384, length: 16384 }),
  encodeMessage({ type: 'extended', extension: 0, payload: extension }),
  encodeMessage({ type: 'extended', extension: 1, payload: proof }),
  encodeMessage({ type: 'extended', extension: 2, payload: encodedBatch }),
]
const blockFrame = Buffer.concat([
  Buffer.from([0, 0, 0, 109, 7, 0, 0, 0, 1, 0, 0, 0, 0]),
  Buffer.alloc(100, 9),
])
const stream = Buffer.concat([...messages, blockFrame, Buffer.alloc(4), ...messages])

const linkBlock = Buffer.alloc(17 + 100)
writeBlockHeader(linkBlock, { piece: 1, begin: 0, length: 100 }, 7)
const linkStream = Buffer.concat([
  encodeMessage({ type: 'extended', extension: 0, payload: linkHandshake }, 0),
  ...pullMessages.map((payload) => encodeMessage({ type: 'extended', extension: 1, payload }, 0)),
  ...swarmMessages.map((payload) => encodeMessage({ type: 'extended', extension: 2, payload }, 0)),
  encodeMessage({ type: 'request', piece: 1, begin: 16384, length: 16384 }, 7),
  linkBlock,
  Buffer.alloc(4),
  encodeMessage({ type: 'have', piece: 3 }, 7),
])

const signer = makeSigner('ES256')
const token = signer.sign(pullClaims('team/app'), { jwk: signer.publicJwk })
const [header, payload, signature] = token.split('.') as [string, string, string]
const json = (part: string) => Buffer.from(part, 'base64url')

const sink = {
  onKeepAlive: () => undefined,
  onHandshake: () => undefined,
  onMessage: () => undefined,
  onBlockStart: ({ length }: { length: number }) =>
    length > FRAME_BYTES_MAX ? expect.fail('too long') : undefined,
  onBlockEnd: () => undefined,
}

fuzz(
  'bencode',
  300_000,
  [extension, proof, encodedBatch, Buffer.from('li-5e0:d1:al1:bi0eeee')],
  decodeBencode,
)
fuzz(
  'messages',
  200_000,
  messages.map((frame) => frame.subarray(4)),
  (bytes) => bytes.length > 0 && void decodeMessage(bytes),
)
fuzz('handshakes', 100_000, [opening], decodeHandshake)
fuzz('extension handshakes', 100_000, [extension], decodeExtensionHandshake)
fuzz('proofs', 100_000, [proof], decodeProof)
fuzz('link handshakes', 100_000, [linkHandshake], decodeLinkHandshake)
fuzz('pulls on a link', 100_000, pullMessages, decodePullMessage)
fuzz('swarms on a link', 100_000, swarmMessages, decodeSwarmMessage)
fuzz('hash batches', 100_000, [encodedBatch], (bytes) => void decodeHashBatch(bytes, swarm))
fuzz('frame streams', 100_000, [stream], (bytes) => {
  const reader = new FrameReader(sink)
  reader.push(opening)
  const cut = bytes.length >> 1
  reader.push(bytes.subarray(0, cut))
  reader.push(bytes.subarray(cut))
})
fuzz('frame streams of a link', 100_000, [linkStream], (bytes) => {
  const reader = new FrameReader(sink, { isNumbered: true })
  reader.push(opening)
  const cut = bytes.length >> 1
  reader.push(bytes.subarray(0, cut))
  reader.push(bytes.subarray(cut))
})
fuzz(
  'bitfields',
  100_000,
  [Buffer.of(0xff, 0xf0), Buffer.of(0, 0)],
  (bytes) => void Bitfield.fromBytes(bytes, 12),
)
fuzz('token headers', 20_000, [json(header)], (bytes) => {
  void parseRegistryToken(`${bytes.toString('base64url')}.${payload}.${signature}`)
})
fuzz('token payloads', 20_000, [json(payload)], (bytes) => {
  void parseRegistryToken(`${header}.${bytes.toString('base64url')}.${signature}`)
})
fuzz(
  'certificate names',
  30_000,
  [
    Buffer.from(
      `urn:shoal:kind:pull\nurn:shoal:cluster:c0123456789abcdef\nurn:shoal:node:${'ab'.repeat(20)}`,
    ),
  ],
  (bytes) => {
    void claimsFromNames({ uris: bytes.toString('latin1').replace('pull', 'node').split('\n'), dnsNames: [] })
  },
)

test('stored batches: the schema rejects any other JSON without failing', () => {
  const next = generator(SEED)
  const good = Buffer.from(
    JSON.stringify({
      ...batch,
      hashes: batch.hashes.toString('base64url'),
      signature: batch.signature.toString('base64url'),
    }),
  )
  for (let run = 0; run < 20_000; run++) {
    const bent = bend(good, next).toString('latin1')
    let value: unknown
    try {
      value = JSON.parse(bent)
    } catch {
      continue
    }
    const parsed = hashBatchSchema.safeParse(value)
    if (parsed.success) expect(parsed.data.signature.length).toBeLessThanOrEqual(64)
  }
})

afterAll(() => {
  console.log(`fuzz: ${inputs} inputs, seed ${SEED}`)
  expect(inputs).toBeGreaterThanOrEqual(1_000_000)
})
