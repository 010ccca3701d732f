import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import type { Manner } from './manners.ts'
import type { OddRequest } from './odd-request.ts'

const CHUNK_BYTES = 64 * 1024

/** @returns the bytes to send; undefined for a range that begins behind the end */
export function spanOf(
  header: string | undefined,
  length: number,
  manner: Manner['range'],
): { from: number; to: number; isPart: boolean } | undefined {
  const whole = { from: 0, to: length, isPart: false }
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(header ?? '') ?? []
  if (manner === 'ignored' || first + last === '') return whole
  const from = first === '' ? Math.max(0, length - Number(last)) : Number(first)
  if (from >= length) return undefined
  const end = first === '' || last === '' ? length : Math.min(length, Number(last) + 1)
  const to = manner === undefined ? end : Math.min(end, from + manner.bytesMax)
  return { from, to, isPart: true }
}

export async function sendBody(asked: OddRequest, body: Buffer, pace: Manner['pace']): Promise<void> {
  const { response } = asked
  const step = pace?.bytes ?? CHUNK_BYTES
  for (let at = 0; at < body.length && !response.destroyed; at += step) {
    const chunk = body.subarray(at, at + step)
    const isFree = response.write(chunk)
    asked.sentBytes += chunk.length
    if (!isFree) await Promise.race([once(response, 'drain'), once(response, 'close')])
    if (pace) await delay(pace.pauseMs)
  }
  if (!response.destroyed) response.end()
}

interface ByHand {
  bytes: Buffer
  digest: string | undefined
  type: string
  spelling: NonNullable<Manner['spelling']>
}

/** Writes the answer to the socket itself, and closes the connection. */
export function sendByHand(asked: OddRequest, { bytes, digest, type, spelling }: ByHand): void {
  const { socket, method } = asked.request
  const head = {
    http10: ['HTTP/1.0 200 OK', `Content-Type: ${type}`],
    'no-reason': ['HTTP/1.1 200', `content-type:${type}`, `CONTENT-LENGTH:   ${bytes.length}  `],
    'length-and-chunked': [
      'HTTP/1.1 200 OK',
      `Content-Type: ${type}`,
      `Content-Length: ${bytes.length}`,
      'Transfer-Encoding: chunked',
    ],
  }[spelling]
  const named = spelling === 'length-and-chunked' && digest ? [`Docker-Content-Digest: ${digest}`] : []
  socket.write(`${[...head, ...named, 'Connection: close'].join('\r\n')}\r\n\r\n`)
  asked.status = 200
  if (method === 'HEAD') return void socket.end()
  asked.sentBytes += bytes.length
  if (spelling !== 'length-and-chunked') return void socket.end(bytes)
  socket.write(`${bytes.length.toString(16)}\r\n`)
  socket.write(bytes)
  socket.end('\r\n0\r\n\r\n')
}
