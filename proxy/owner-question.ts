import { connect, isIP } from 'node:net'
import type { Connection, SocketOwner } from './socket-owner.ts'

/**
 * The question that a node without rights asks of `shoal owners`: whose is the other end of this connection? One line over a
 * Unix socket, one line of JSON back. No answer at all means that it will not say.
 */

/** Only root can make it: who listens there is not in doubt. */
export const OWNERS_SOCKET = '/run/shoal-owners.sock'
/** Bound of a question: two IPv6 addresses with their ports, in bytes. */
export const QUESTION_BYTES_MAX = 128
/** Bound of an answer, in bytes: the longest path with each byte written as six, and a unit's name. */
export const OWNER_ANSWER_BYTES_MAX = 32 * 1024
/** How long the answer may take, the service's start included: less than OWNER_PATIENCE_MS, so that at least the user is known in time. */
const OWNER_ANSWER_PATIENCE_MS = 500

export type Question = Required<Omit<Connection, 'readyState'>>

const QUESTION = /^([0-9a-fA-F.:]{2,45}) (\d{1,5}) ([0-9a-fA-F.:]{2,45}) (\d{1,5})\n$/

/** @returns undefined for what is no question */
export function parseQuestion(text: string): Question | undefined {
  const [, remoteAddress = '', remotePort, localAddress = '', localPort] = QUESTION.exec(text) ?? []
  if (isIP(remoteAddress) === 0 || isIP(localAddress) === 0) return undefined
  return { remoteAddress, remotePort: Number(remotePort), localAddress, localPort: Number(localPort) }
}

/** @returns undefined if nobody answers there, or not this. Never rejects. */
export function askOwner(
  { remoteAddress, remotePort, localAddress, localPort }: Connection,
  path = OWNERS_SOCKET,
): Promise<SocketOwner | undefined> {
  const { promise, resolve } = Promise.withResolvers<SocketOwner | undefined>()
  let text = ''
  const socket = connect(path, () =>
    socket.write(`${remoteAddress} ${remotePort} ${localAddress} ${localPort}\n`),
  )
  const timer = setTimeout(() => socket.destroy(), OWNER_ANSWER_PATIENCE_MS)
  socket.setEncoding('utf8').on('data', (part: string) => {
    text += part
    if (text.length > OWNER_ANSWER_BYTES_MAX) socket.destroy()
  })
  socket.on('error', () => socket.destroy())
  socket.once('close', () => {
    clearTimeout(timer)
    resolve(ownerIn(text))
  })
  return promise
}

function ownerIn(text: string): SocketOwner | undefined {
  try {
    const { uid, executable, unit } = JSON.parse(text)
    if (!Number.isInteger(uid)) return undefined
    return {
      uid,
      ...(typeof executable === 'string' && { executable }),
      ...(typeof unit === 'string' && { unit }),
    }
  } catch {
    return undefined
  }
}
