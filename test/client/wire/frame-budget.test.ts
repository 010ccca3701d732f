import { X509Certificate } from 'node:crypto'
import { EventEmitter } from 'node:events'
import type { TLSSocket } from 'node:tls'
import pino from 'pino'
import { beforeAll, expect, test } from 'vitest'
import { Download } from '../../../client/engine/download.ts'
import { RateLimit } from '../../../client/engine/rate-limit.ts'
import { PeerLink } from '../../../client/peer/peer-link.ts'
import { Bitfield } from '../../../client/store/bitfield.ts'
import { PieceBuffers } from '../../../client/store/piece-buffers.ts'
import { PieceHashes } from '../../../client/store/piece-hashes.ts'
import { SwarmLinks, type SwarmLinksOptions } from '../../../client/swarm/swarm-links.ts'
import { encodeExtensionHandshake, encodeHashBatch } from '../../../client/wire/extensions.ts'
import { FrameBudget } from '../../../client/wire/frame-budget.ts'
import { encodeHandshake } from '../../../client/wire/handshake.ts'
import { encodeMessage, type Message } from '../../../client/wire/messages.ts'
import { claimsToNames } from '../../../core/certificate-claims.ts'
import { digestFromHex } from '../../../core/digest.ts'
import { issueLeaf, makeAuthority } from '../../../core/issue-certificate.ts'
import type { ClusterId, NodeId, SwarmId } from '../../../core/metainfo.ts'
import { parseRegistryHost } from '../../../core/repository.ts'
import { noteDefects } from '../../core/noted-defects.ts'

/** A downloading node's end of a connection, without the network: what a peer may send that changes nothing. */

const swarm = 'f'.repeat(40) as SwarmId
const peer = 'a'.repeat(40) as NodeId
let certificate: X509Certificate
beforeAll(async () => {
  const authority = await makeAuthority({ commonName: 'cluster', validForSeconds: 600 })
  const { uris, dnsNames } = claimsToNames({
    kind: 'serve',
    cluster: 'c'.repeat(17) as ClusterId,
    node: peer,
  })
  const names = [
    ...uris.map((value) => ({ type: 'url', value }) as const),
    ...dnsNames.map((value) => ({ type: 'dns', value }) as const),
  ]
  const options = { commonName: 'peer', validForSeconds: 600, names, usages: ['serverAuth' as const] }
  certificate = new X509Certificate((await issueLeaf(authority, options)).certificatePem)
})

function connected({ pieceCount = 256, pieceBytes = 256 * 1024 } = {}) {
  const state = { picks: 0, signatures: 0, requests: 0, code: undefined as string | undefined }
  const layout = { pieceCount, pieceBytes, blobBytes: pieceCount * pieceBytes }
  const have = new Bitfield(pieceCount)
  const hashes = new PieceHashes(pieceCount)
  const download = new Download({
    node: 'b'.repeat(40) as NodeId,
    layout,
    have,
    buffers: new PieceBuffers().share(),
    stream: () => undefined,
    isForThread: () => false,
    // Nothing can be asked for: what the picker is called for is called for in vain.
    isAskable: () => false,
    position: () => {
      state.picks += 1
      return 0
    },
    onPiece: () => undefined,
    nowMs: () => performance.now(),
    random: Math.random,
    limit: new RateLimit(0, () => 0),
    wait: () => undefined,
  })
  download.resume()
  const options: Partial<Record<keyof SwarmLinksOptions, unknown>> = {
    node: 'b'.repeat(40),
    version: 'test',
    stored: {
      swarm,
      key: { registry: parseRegistryHost('registry.example'), digest: digestFromHex('d'.repeat(64)) },
      layout,
      have,
      hashes,
      isComplete: false,
    },
    download,
    log: pino({ level: 'silent' }),
    ...noteDefects(),
    admission: { needsProof: () => true },
    trust: {
      isRevoked: () => false,
      isCounted: () => {
        state.signatures += 1
        return true
      },
    },
    isWanted: () => true,
    grant: () => undefined,
    onBatch: (batch: Parameters<PieceHashes['add']>[0]) => void hashes.add(batch),
  }
  const links = new SwarmLinks(options as unknown as SwarmLinksOptions)
  const onClosed = links.onClosed.bind(links)
  links.onClosed = (link, reason) => {
    state.code = reason?.code
    onClosed(link, reason)
  }
  const socket = Object.assign(new EventEmitter(), {
    getPeerX509Certificate: () => certificate,
    getX509Certificate: () => certificate,
    setNoDelay: () => undefined,
    setKeepAlive: () => undefined,
    write: () => true,
    destroy: () => undefined,
    destroyed: false,
    writableLength: 0,
  })
  const link = new PeerLink(socket as unknown as TLSSocket, { host: links, infoHash: swarm, isDialler: true })
  links.attach(link)
  link.receive(encodeHandshake({ swarm, peer, hasFast: true, hasExtensions: true }))
  link.receive(extended(0, extensionHandshake))
  return { link, state }
}

const extended = (extension: number, payload: Buffer) =>
  encodeMessage({ type: 'extended', extension, payload })
const extensionHandshake = encodeExtensionHandshake({
  requestsQueuedMax: 256,
  blockBytesMax: 128 * 1024,
  isUploadOnly: false,
  version: 'test',
})
const batchOf = (firstPiece: number) =>
  extended(
    2,
    encodeHashBatch({
      swarm,
      epoch: 0,
      status: 'claimed',
      firstPiece,
      hashes: Buffer.alloc(32, firstPiece),
      signature: Buffer.alloc(64),
    }),
  )
const message = (message: Exclude<Message, { type: 'unknown' }>) => encodeMessage(message)
const block = { piece: 1, begin: 0, length: 128 * 1024 }

/** By 256 pieces: 2,000 frames, 64 for each piece, and a few for the time that the test takes. */
const FLOOD_FRAMES_MAX = 2_000 + 256 * 64 + 1_000

for (const [what, frame, first = Buffer.alloc(0)] of [
  ['keep-alives', Buffer.alloc(4)],
  ['an unchoke, and again', message({ type: 'unchoke' })],
  ['chokes while it is choked', message({ type: 'choke' })],
  [
    'an unchoke and a choke by turns',
    Buffer.concat([message({ type: 'unchoke' }), message({ type: 'choke' })]),
  ],
  [
    'interest that flips',
    Buffer.concat([message({ type: 'interested' }), message({ type: 'not-interested' })]),
  ],
  ['one have, and again', message({ type: 'have', piece: 1 })],
  ['have-all, and again', message({ type: 'have-all' })],
  ['have-none', message({ type: 'have-none' })],
  ['one bitfield, and again', message({ type: 'bitfield', bits: Buffer.alloc(32, 0x55) })],
  ['cancels of nothing', message({ type: 'cancel', ...block })],
  ['rejects of nothing', message({ type: 'reject', ...block })],
  ['suggestions', message({ type: 'suggest', piece: 1 })],
  ['allowed-fast', message({ type: 'allowed-fast', piece: 1 })],
  ['messages of an unknown kind', Buffer.from([0, 0, 0, 1, 200])],
  ['messages of an unknown extension', extended(77, Buffer.alloc(1))],
  ['extension handshakes', extended(0, extensionHandshake)],
  ['one signed batch, and again', batchOf(3)],
  ['batches of an older epoch', batchOf(4), newerEpoch()],
] as [string, Buffer, Buffer?][]) {
  test(`${what}: the connection ends, and the picker is not asked each time`, () => {
    const { link, state } = connected()
    link.receive(message({ type: 'have', piece: 2 }))
    link.receive(message({ type: 'unchoke' }))
    link.receive(first)
    const picksBefore = state.picks
    let sent = 0
    while (state.code === undefined && sent <= FLOOD_FRAMES_MAX) {
      link.receive(frame)
      sent += 1
    }
    expect(state.code).toBe('PEER_PROTOCOL')
    // A choke is a change: those that are let pass end some requests, few enough.
    expect(state.picks - picksBefore).toBeLessThan(1_000)
    expect(state.signatures).toBeLessThanOrEqual(2)
  })
}

function newerEpoch(): Buffer {
  const hashes = Buffer.alloc(32)
  const batch = {
    swarm,
    epoch: 1,
    status: 'claimed',
    firstPiece: 0,
    hashes,
    signature: Buffer.alloc(64),
  } as const
  return extended(2, encodeHashBatch(batch))
}

test('unrequested blocks of one byte end the connection as soon as those of 16 KiB would', () => {
  const { link, state } = connected()
  const tiny = Buffer.from([0, 0, 0, 10, 7, 0, 0, 0, 1, 0, 0, 0, 0, 255])
  for (let sent = 0; sent < 512; sent++) link.receive(tiny)
  expect(state.code).toBeUndefined()
  link.receive(tiny)
  expect(state.code).toBe('PEER_PROTOCOL')
})

test('all of a blob of 262,144 pieces is announced one by one, each hash and each interest told again', () => {
  const { link, state } = connected({ pieceCount: 262_144, pieceBytes: 4 * 1024 * 1024 })
  for (let piece = 0; piece < 262_144; piece += 1) {
    const batch = piece % 64 === 0 ? batchOf(piece) : Buffer.alloc(0)
    link.receive(
      Buffer.concat([
        batch,
        batch,
        message({ type: 'have', piece }),
        message({ type: piece % 2 === 0 ? 'interested' : 'not-interested' }),
        message({ type: 'cancel', ...block }),
      ]),
    )
  }
  expect(state.code).toBeUndefined()
})

test('keep-alives and chokes as BEP 3 has them go on for a day', () => {
  let nowMs = 0
  const budget = new FrameBudget(nowMs).widen(1)
  for (; nowMs < 24 * 3600 * 1000; nowMs += 10_000) {
    budget.spend({ type: 'choke' }, nowMs)
    budget.spend({ type: 'interested' }, nowMs)
    if (nowMs % 120_000 === 0) budget.spend({ type: 'keep-alive' }, nowMs)
  }
})

test('a peer that moves blocks may cancel some of them, and one that moves none may not continue', () => {
  const mover = new FrameBudget(0).widen(1)
  const idler = new FrameBudget(0).widen(1)
  const cancel = { type: 'cancel', ...block } as const
  for (let at = 0; at < 100_000; at++) {
    mover.moved(block)
    for (let cancels = 0; cancels < 4; cancels++) mover.spend(cancel, 0)
  }
  const idle = () => {
    for (let at = 0; at < 100_000; at++) idler.spend(cancel, 0)
  }
  expect(idle).toThrow(expect.objectContaining({ code: 'PEER_PROTOCOL' }))
})
