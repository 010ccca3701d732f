import type { Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { beforeEach, expect, test } from 'vitest'
import { LinkTurns } from '../../../client/engine/link-turns.ts'
import { LinkWriter } from '../../../client/peer/link-writer.ts'
import { SEND_BUFFERS_MAX, SendBuffers } from '../../../client/peer/send-buffers.ts'
import { PeerLane } from '../../../client/peer/upload-lane.ts'
import { BLOCK_HEADER_BYTES } from '../../../client/wire/messages.ts'
import { type PieceIndex, pieceLayout } from '../../../core/metainfo.ts'
import { noteDefects } from '../../core/noted-defects.ts'

const BLOCK = { piece: 1 as PieceIndex, begin: 0, length: 16 * 1024 }

let has: boolean
let rejected: unknown[]
let sent: PassThrough
let lane: PeerLane
let buffers: SendBuffers
/** Ends the read in flight. */
let read: () => void

beforeEach(() => {
  const { boundary } = noteDefects()
  has = true
  rejected = []
  sent = new PassThrough()
  buffers = new SendBuffers()
  lane = new PeerLane(new LinkWriter(sent as unknown as Socket, boundary, () => undefined), {
    boundary,
    layout: pieceLayout(1024 * 1024),
    turns: new LinkTurns(),
    confirmsPieces: true,
    hasPiece: () => has,
    piecesHad: () => 0,
    reject: (block) => rejected.push(block),
    onServed: () => undefined,
    onReady: () => undefined,
    onDead: () => undefined,
  })
})

/** The disk answers when the test says so. */
const file = {
  readBlock: (_target: Buffer, _block: unknown, done: (isRead: boolean) => void) => {
    read = () => done(true)
  },
}

const turn = () => new Promise(setImmediate)

test('a block of a piece that the node has is sent', async () => {
  expect(lane.serve(BLOCK, file, buffers)).toBe(true)
  read()
  await turn()
  expect(sent.readableLength).toBe(BLOCK_HEADER_BYTES + BLOCK.length)
  expect(rejected).toEqual([])
})

test('a block of a piece that was dropped since it was asked for, or while it is read, is rejected', async () => {
  expect(lane.ask(BLOCK)).toBe(true)
  has = false
  lane.serve(lane.queue[0]!, file, buffers)
  read()
  has = true
  lane.serve(BLOCK, file, buffers)
  has = false
  read()
  await turn()
  expect(rejected).toEqual([BLOCK, BLOCK])
  expect(sent.readableLength).toBe(0)
  // Its buffers are free again.
  for (let at = 0; at < SEND_BUFFERS_MAX; at++) expect(buffers.acquire()).toBeDefined()
  lane.close()
})
