import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type JsonWebKey,
  sign,
  verify,
} from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import {
  type PullStatement,
  proofBindingOf,
  pullStatementBytes,
} from '../../../client/peer/pull-statement.ts'
import { decodeHashBatch, encodeHashBatch } from '../../../client/wire/extensions.ts'
import { FrameReader } from '../../../client/wire/frame-reader.ts'
import { encodeHandshake } from '../../../client/wire/handshake.ts'
import {
  decodeLinkHandshake,
  decodePullMessage,
  decodeSwarmMessage,
  encodeLinkHandshake,
  encodePullMessage,
  encodeSwarmMessage,
} from '../../../client/wire/link-messages.ts'
import {
  encodeMessage,
  type Message,
  type SentMessage,
  writeBlockHeader,
} from '../../../client/wire/messages.ts'
import { isHashBatchSigned, signHashBatch } from '../../../core/hash-batch.ts'
import type { ClusterId, NodeId, SwarmId } from '../../../core/metainfo.ts'
import { prepareProver, verifyTokenProof } from '../../../core/token-proof/index.ts'
import { makeSigner, pullClaims } from '../../core/signed-tokens.ts'

/**
 * The bytes on a link (docs/protocol.md), for other implementations. Everything but what is signed with chance in it is
 * made here again and compared. SHOAL_WRITE_VECTORS=1 writes the file: a change of it is a change of the protocol.
 */

const PATH = new URL('protocol-vectors.json', import.meta.url)
const cluster = 'c0123456789abcdef' as ClusterId
const swarm = 'ab'.repeat(20) as SwarmId
const peer = 'cd'.repeat(20) as NodeId

/** RFC 8032 §7.1, test 1. */
const batchKey = createPrivateKey({
  key: Buffer.concat([
    Buffer.from('302e020100300506032b657004220420', 'hex'),
    Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex'),
  ]),
  format: 'der',
  type: 'pkcs8',
})
const batch = signHashBatch(batchKey, cluster, {
  swarm,
  epoch: 3,
  status: 'claimed',
  firstPiece: 5,
  hashes: Buffer.alloc(64, 7),
})
const statement: PullStatement = {
  role: 'dialler',
  cluster,
  exporter: Buffer.alloc(32, 1),
  openerCertificate: Buffer.alloc(32, 2),
  holderCertificate: Buffer.alloc(32, 3),
  pullCertificate: Buffer.alloc(32, 4),
}

const opening = {
  type: 'open',
  certificate: Buffer.from('3003020101', 'hex'),
  signature: Buffer.from('30060201010201ff', 'hex'),
  proof: { signingInput: 'aGVhZGVy.cGF5bG9hZA', proof: Buffer.from('01aabb', 'hex') },
} as const
const payloads = {
  handshake: encodeLinkHandshake({
    requestsQueuedMax: 256,
    blockBytesMax: 131072,
    listenPort: 7071,
    version: 'Shoal 1.0.0',
  }),
  pullOpened: encodePullMessage(opening),
  pullRenewed: encodePullMessage({ ...opening, proof: undefined }),
  pullClosed: encodePullMessage({ type: 'closed', pull: '0f'.repeat(16) }),
  pullRefused: encodePullMessage({ type: 'refused', pull: '0f'.repeat(16) }),
  swarmOpened: encodeSwarmMessage({ type: 'open', number: 3, swarm }),
  swarmClosed: encodeSwarmMessage({ type: 'closed', number: 3 }),
  hashes: encodeHashBatch(batch),
}

/** The swarm's number and the message of each frame. */
const frames: Record<string, [number, SentMessage]> = {
  handshake: [0, { type: 'extended', extension: 0, payload: payloads.handshake }],
  pull: [0, { type: 'extended', extension: 1, payload: payloads.pullOpened }],
  swarm: [0, { type: 'extended', extension: 2, payload: payloads.swarmOpened }],
  hashes: [3, { type: 'extended', extension: 3, payload: payloads.hashes }],
  choke: [3, { type: 'choke' }],
  unchoke: [3, { type: 'unchoke' }],
  interested: [3, { type: 'interested' }],
  notInterested: [3, { type: 'not-interested' }],
  have: [3, { type: 'have', piece: 9 }],
  bitfield: [3, { type: 'bitfield', bits: Buffer.of(0xa0) }],
  haveAll: [3, { type: 'have-all' }],
  haveNone: [3, { type: 'have-none' }],
  request: [3, { type: 'request', piece: 1, begin: 131072, length: 131072 }],
  cancel: [3, { type: 'cancel', piece: 1, begin: 131072, length: 131072 }],
  reject: [3, { type: 'reject', piece: 1, begin: 131072, length: 131072 }],
}

interface Vectors {
  handshake: string
  payloads: Record<string, string>
  frames: Record<string, string>
  blockHeader: string
  batch: { cluster: string; key: string; payload: string }
  statement: { bytes: string; publicKey: JsonWebKey; signature: string }
  proof: { key: JsonWebKey; signingInput: string; proof: string }
}

function fixed(): Omit<Vectors, 'statement' | 'proof'> & { statement: { bytes: string } } {
  const header = Buffer.alloc(17)
  writeBlockHeader(header, { piece: 1, begin: 131072, length: 131072 }, 3)
  const hexOf = (some: Record<string, Buffer>) =>
    Object.fromEntries(Object.entries(some).map(([name, bytes]) => [name, bytes.toString('hex')]))
  return {
    handshake: encodeHandshake({
      swarm: peer as string as SwarmId,
      peer,
      hasFast: true,
      hasExtensions: true,
    }).toString('hex'),
    payloads: hexOf(payloads),
    frames: Object.fromEntries(
      Object.entries(frames).map(([name, [number, message]]) => [
        name,
        encodeMessage(message, number).toString('hex'),
      ]),
    ),
    blockHeader: header.toString('hex'),
    batch: {
      cluster,
      key: createPublicKey(batchKey).export({ format: 'jwk' }).x!,
      payload: payloads.hashes.toString('hex'),
    },
    statement: { bytes: pullStatementBytes(statement).toString('hex') },
  }
}

if (process.env.SHOAL_WRITE_VECTORS) {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const signer = makeSigner('ES256')
  const token = prepareProver(signer.sign(pullClaims('team/app')), signer.publicJwk)
  const made = fixed()
  const vectors: Vectors = {
    ...made,
    statement: {
      ...made.statement,
      publicKey: publicKey.export({ format: 'jwk' }),
      signature: sign('sha256', pullStatementBytes(statement), privateKey).toString('hex'),
    },
    proof: {
      key: signer.publicJwk,
      signingInput: token.signingInput,
      proof: token.prove(proofBindingOf(statement)).toString('hex'),
    },
  }
  writeFileSync(PATH, `${JSON.stringify(vectors, null, 2)}\n`)
}
const vectors = JSON.parse(readFileSync(PATH, 'utf8')) as Vectors

test('the encoders give the published bytes', () => {
  const { statement: signed, proof, ...rest } = vectors
  expect({ ...rest, statement: { bytes: signed.bytes } }).toEqual(fixed())
})

test('the published payloads decode to what they were made of', () => {
  const bytes = (name: keyof typeof payloads) => Buffer.from(vectors.payloads[name]!, 'hex')
  expect(decodeLinkHandshake(bytes('handshake'))).toMatchObject({ listenPort: 7071, blockBytesMax: 131072 })
  expect(decodePullMessage(bytes('pullOpened'))).toEqual(opening)
  expect(decodePullMessage(bytes('pullRenewed'))).toEqual({ ...opening, proof: undefined })
  expect(decodePullMessage(bytes('pullClosed'))).toEqual({ type: 'closed', pull: '0f'.repeat(16) })
  expect(decodePullMessage(bytes('pullRefused'))).toEqual({ type: 'refused', pull: '0f'.repeat(16) })
  expect(decodeSwarmMessage(bytes('swarmOpened'))).toEqual({ type: 'open', number: 3, swarm })
  expect(decodeSwarmMessage(bytes('swarmClosed'))).toEqual({ type: 'closed', number: 3 })
})

test.each([1, 7, 4096])(
  'the published frames, %i bytes at a time, are the messages of their swarms',
  (size) => {
    const read: [number, Message][] = []
    const blocks: unknown[] = []
    const sink = {
      onHandshake: () => undefined,
      onKeepAlive: () => undefined,
      onMessage: (message: Message, number: number) => void read.push([number, message]),
      onBlockStart: (block: object, number: number) => void blocks.push([number, block]),
      onBlockEnd: (_block: object, number: number) => void blocks.push(number),
    }
    const reader = new FrameReader(sink as never, { isNumbered: true })
    const stream = Buffer.concat([
      Buffer.from(vectors.handshake, 'hex'),
      ...Object.values(vectors.frames).map((frame) => Buffer.from(frame, 'hex')),
      Buffer.from(vectors.blockHeader, 'hex'),
      Buffer.alloc(131072),
    ])
    for (let at = 0; at < stream.length; at += size) reader.push(stream.subarray(at, at + size))
    expect(read).toEqual(Object.values(frames))
    expect(blocks).toEqual([[3, { piece: 1, begin: 131072, length: 131072 }], 3])
  },
)

test('the published batch, signature and proof hold', () => {
  const key = createPublicKey({
    key: { kty: 'OKP', crv: 'Ed25519', x: vectors.batch.key },
    format: 'jwk',
  })
  const decoded = decodeHashBatch(Buffer.from(vectors.batch.payload, 'hex'), swarm)
  expect(isHashBatchSigned([key], vectors.batch.cluster as ClusterId, decoded)).toBe(true)
  const signed = Buffer.from(vectors.statement.bytes, 'hex')
  const opener = createPublicKey({ key: vectors.statement.publicKey, format: 'jwk' })
  const signature = Buffer.from(vectors.statement.signature, 'hex')
  expect(verify('sha256', signed, opener, signature)).toBe(true)
  const presented = {
    signingInput: vectors.proof.signingInput,
    proof: Buffer.from(vectors.proof.proof, 'hex'),
    key: vectors.proof.key,
  }
  expect(verifyTokenProof({ ...presented, binding: proofBindingOf(statement) })).toBeUndefined()
  const elsewhere = proofBindingOf({ ...statement, exporter: Buffer.alloc(32, 9) })
  expect(() => verifyTokenProof({ ...presented, binding: elsewhere })).toThrow()
})
