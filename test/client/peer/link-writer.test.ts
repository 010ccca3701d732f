import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { LinkWriter } from '../../../client/peer/link-writer.ts'
import { noteDefects } from '../../core/noted-defects.ts'

/** Far more than the kernel takes of a socket that nobody reads. */
const BLOCK_BYTES = 16 * 1024 * 1024

let ours: Socket
let theirs: Socket
let writer: LinkWriter
let isUnread: boolean

beforeEach(async () => {
  const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  ours = connect((server.address() as AddressInfo).port, '127.0.0.1')
  ;[theirs] = (await once(server, 'connection')) as [Socket]
  server.close()
  isUnread = false
  writer = new LinkWriter(ours, noteDefects().boundary, () => {
    isUnread = true
  })
})

afterEach(() => {
  ours.destroy()
  theirs.destroy()
})

const block = (fill: string) => Buffer.alloc(BLOCK_BYTES, fill)
const turn = () => new Promise(setImmediate)
const sent = (bytes: Buffer) => new Promise<void>((resolve) => writer.sendBlock(bytes, resolve))

test('messages go out in their order, and before a block that waits for another', async () => {
  const blocks = [sent(block('a')), sent(block('b'))]
  writer.addMessage(Buffer.from(' one'))
  writer.addMessage(Buffer.from(' two '))
  const chunks: Buffer[] = []
  theirs.on('data', (chunk) => chunks.push(chunk)).resume()
  await Promise.all(blocks)
  writer.addMessage(Buffer.from(' three'))
  await turn()
  ours.end()
  await once(theirs, 'end')
  const text = Buffer.concat(chunks).toString('latin1')
  expect(text.replace(/a+/, 'A').replace(/b+/, 'B')).toBe('A one two B three')
})

test('bytes that the kernel has not accepted are counted', () => {
  writer.addMessage(Buffer.alloc(10))
  expect(writer.unsentBytes).toBe(10)
  void sent(block('a'))
  void sent(block('b'))
  expect(writer.unsentBytes).toBe(10 + 2 * BLOCK_BYTES)
})

test('reports an other side that does not read, once the turn is over', async () => {
  for (let message = 0; message < 8; message++) writer.addMessage(Buffer.alloc(1024 * 1024))
  await turn()
  expect(isUnread).toBe(false)
  for (let message = 0; message < 16; message++) writer.addMessage(Buffer.alloc(1024 * 1024))
  expect(isUnread).toBe(false)
  await turn()
  expect(isUnread).toBe(true)
})

test('the memory of every block comes back when the connection ends, however much of it was sent', async () => {
  const blocks = [sent(block('a')), sent(block('b')), sent(block('c'))]
  await new Promise((resolve) => setTimeout(resolve, 50))
  writer.close()
  ours.destroy()
  await Promise.all([...blocks, sent(block('d'))])
})
