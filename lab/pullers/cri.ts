import { connect as connectHttp2, constants } from 'node:http2'
import { connect as connectSocket } from 'node:net'
import { LabCommandError } from '../errors.ts'
import type { Account } from '../registry/registry.ts'

/**
 * `PullImage` of Kubernetes' Container Runtime Interface, as the kubelet and crictl call it: one gRPC call over HTTP/2 on
 * a unix socket. A message is a byte 0, its length in four bytes, and fields of Protocol Buffers.
 */

const ANSWER_BYTES_MAX = 64 * 1024
const METHOD = '/runtime.v1.ImageService/PullImage'

export interface CriPull {
  socket: string
  image: string
  account: Account | undefined
  timeoutMs: number
}

/** @throws LabCommandError with the runtime's own words */
export async function criPullImage({ socket, image, account, timeoutMs }: CriPull): Promise<void> {
  const session = connectHttp2('http://localhost', { createConnection: () => connectSocket(socket) })
  try {
    await new Promise<void>((resolve, reject) => {
      const fail = (message: string, cause?: Error) =>
        reject(new LabCommandError(`PullImage failed: ${message}`, { cause }))
      session.once('error', (error) => fail(error.message, error))
      const call = session.request({
        [constants.HTTP2_HEADER_METHOD]: 'POST',
        [constants.HTTP2_HEADER_PATH]: METHOD,
        'content-type': 'application/grpc',
        te: 'trailers',
      })
      call.setTimeout(timeoutMs, () => call.close(constants.NGHTTP2_CANCEL))
      let bytes = 0
      call.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes > ANSWER_BYTES_MAX) call.close(constants.NGHTTP2_CANCEL)
      })
      let isDone = false
      // An answer without a message has its status among the first headers.
      const conclude = (headers: Record<string, unknown>) => {
        const status = headers['grpc-status']
        if (status === undefined) return
        isDone = true
        if (status === '0') resolve()
        else fail(decodeURIComponent(String(headers['grpc-message'] ?? status)))
      }
      call.on('response', conclude).on('trailers', conclude)
      call.once('error', (error) => fail(error.message, error))
      call.once('close', () => isDone || fail('there was no answer in time'))
      call.end(framed(pullRequest(image, account)))
    })
  } finally {
    session.destroy()
  }
}

/** PullImageRequest: 1 is ImageSpec (1: image), 2 is AuthConfig (1: username, 2: password). */
function pullRequest(image: string, account: Account | undefined): Buffer {
  const spec = field(1, field(1, Buffer.from(image)))
  if (account === undefined) return spec
  const auth = Buffer.concat([field(1, Buffer.from(account.user)), field(2, Buffer.from(account.password))])
  return Buffer.concat([spec, field(2, auth)])
}

/** A field of wire type 2: its number, its length, its bytes. */
function field(number: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(number << 3) | 2]), varint(value.length), value])
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80)
  return Buffer.from([...bytes, rest])
}

function framed(message: Buffer): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(message.length, 1)
  return Buffer.concat([head, message])
}
