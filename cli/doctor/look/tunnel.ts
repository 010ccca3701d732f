import { request } from 'node:http'
import type { Socket } from 'node:net'
import { addressText } from '../../../core/network.ts'
import { shoalUserAgent } from '../../../core/user-agent.ts'

/** Bound of a refusal, in characters. */
const REFUSAL_CHARS_MAX = 16 * 1024

interface Address {
  host: string
  port: number
}

/** What a proxy answers to CONNECT: a tunnel, or a refusal with its text. @throws if nothing that speaks HTTP answers */
export function tunnelThrough(
  proxy: Address,
  target: Address,
  patienceMs: number,
): Promise<{ socket: Socket } | { status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const authority = addressText(target)
    const headers = { host: authority, 'user-agent': shoalUserAgent() }
    const { host, port } = proxy
    const asked = request({ host, port, method: 'CONNECT', path: authority, headers, agent: false })
    const late = setTimeout(() => asked.destroy(new Error('no answer in time')), patienceMs)
    asked.on('error', (error) => {
      clearTimeout(late)
      reject(error)
    })
    asked.on('connect', ({ statusCode = 0 }, socket, head) => {
      clearTimeout(late)
      socket.on('error', () => undefined)
      if (statusCode >= 200 && statusCode < 300) return resolve({ socket })
      let text = head.toString()
      const end = () => {
        socket.destroy()
        resolve({ status: statusCode, text })
      }
      socket.setTimeout(patienceMs, end)
      socket.on('data', (chunk) => {
        text += chunk
        if (text.length > REFUSAL_CHARS_MAX) end()
      })
      socket.once('close', end)
    })
    asked.end()
  })
}
