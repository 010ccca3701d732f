import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import type { AddressInfo, OnReadOpts } from 'node:net'
import { join } from 'node:path'
import { type ConnectionOptions, connect, createServer, type Server, type TLSSocket } from 'node:tls'
import { answerLines } from '../../measure/answer-lines.ts'
import type { PumpIdentity } from '../systems/pump.ts'

/**
 * One process of the pump. It serves the files of its folder: a caller sends a file's name of 64 characters, and gets the
 * file. It receives a file by block into one reused buffer, hashes the block, and writes it, all in the event loop.
 */

const NAME_CHARS = 64
/** Fastest of those tried; larger ones leave the processor's cache before they are written. */
const BLOCK_BYTES = 128 * 1024
/** What one call of the socket delivers: four TLS records. */
const READ_BYTES = 64 * 1024
/** Blocks that wait in a socket: one is encrypted while the next is read. */
const BLOCKS_AHEAD = 2

let identity: PumpIdentity
let folder: string
let server: Server | undefined
const sentByName = new Map<string, number>()

async function open(settings: PumpIdentity & { folder: string }) {
  const { key, cert, ca } = settings
  identity = { key, cert, ca }
  folder = settings.folder
  server = createServer({ ...identity, requestCert: true, minVersion: 'TLSv1.3' }, (socket) => {
    socket.on('error', () => undefined) // The caller sees that the connection has ended.
    socket.once('data', (name: Buffer) => serve(socket, name.toString('latin1', 0, NAME_CHARS)))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { port: (server.address() as AddressInfo).port }
}

function serve(socket: TLSSocket, name: string): void {
  const file = openSync(join(folder, name), 'r')
  socket.once('close', () => closeSync(file))
  let at = 0
  const send = (block: Buffer) => {
    if (socket.destroyed) return
    const length = readSync(file, block, 0, block.length, at)
    if (length === 0) return void socket.end()
    at += length
    sentByName.set(name, (sentByName.get(name) ?? 0) + length)
    socket.write(block.subarray(0, length), () => send(block))
  }
  for (let ahead = 0; ahead < BLOCKS_AHEAD; ahead++) send(Buffer.allocUnsafeSlow(BLOCK_BYTES))
}

async function download({ name, bytes, port }: { name: string; bytes: number; port: number }) {
  const file = openSync(join(folder, name), 'wx')
  const whole = createHash('sha256')
  const block = Buffer.allocUnsafeSlow(BLOCK_BYTES)
  let [filled, stored] = [0, 0]
  const store = () => {
    const part = block.subarray(0, filled)
    whole.update(part)
    writeSync(file, part, 0, filled, stored)
    stored += filled
    filled = 0
  }
  await receive({ name, port }, (chunk) => {
    for (let at = 0; at < chunk.length; ) {
      const length = Math.min(chunk.length - at, BLOCK_BYTES - filled)
      chunk.copy(block, filled, at, at + length)
      at += length
      filled += length
      if (filled === BLOCK_BYTES || stored + filled === bytes) store()
    }
    return stored === bytes
  })
  closeSync(file)
  const hash = whole.digest('hex')
  if (hash !== name) throw new Error(`${hash} arrived instead of ${name}`)
  return {}
}

/** @param take is called with every chunk, which is valid until it returns. @returns when it says that all is there */
function receive(
  { name, port }: { name: string; port: number },
  take: (chunk: Buffer) => boolean,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
    const callback = (length: number) => {
      if (take(buffer.subarray(0, length))) resolve()
      return true
    }
    // The types name the option for plain sockets only; it works for dialled TLS sockets as well.
    const options: ConnectionOptions & { onread: OnReadOpts } = {
      ...{ host: '127.0.0.1', port, servername: 'localhost', minVersion: 'TLSv1.3' },
      ...identity,
      onread: { buffer, callback },
    }
    const socket = connect(options)
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('the sender closed the connection too early')))
    socket.once('secureConnect', () => socket.write(name))
  })
}

async function sent({ name }: { name: string }) {
  return { bytes: sentByName.get(name) ?? 0 }
}

await answerLines({ open, download, sent }, async () => {
  server?.close()
})
