import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { OddRegistry } from './manners.ts'

interface Refusal {
  status: number
  code: string
  headers?: OutgoingHttpHeaders
}

/** How many requests an address has made of a registry, and has under way. A lab has a handful of addresses. */
export class AddressLimits {
  readonly #times = new Map<string, number[]>()
  readonly #underWay = new Map<string, number>()

  /** @returns the refusal of a request above a limit */
  admit(
    { name, limits }: OddRegistry,
    request: IncomingMessage,
    response: ServerResponse,
  ): Refusal | undefined {
    const key = `${name} ${request.socket.remoteAddress}`
    if (limits?.requests) {
      const { max, windowMs } = limits.requests
      const nowMs = Date.now()
      const recent = (this.#times.get(key) ?? []).filter((timeMs) => nowMs - timeMs < windowMs)
      recent.push(nowMs)
      this.#times.set(key, recent)
      const headers = { 'retry-after': String(windowMs / 1000) }
      if (recent.length > max) return { status: 429, code: 'TOOMANYREQUESTS', headers }
    }
    if (limits?.connectionsMax === undefined) return undefined
    const count = (this.#underWay.get(key) ?? 0) + 1
    this.#underWay.set(key, count)
    response.once('close', () => this.#underWay.set(key, this.#underWay.get(key)! - 1))
    return count > limits.connectionsMax ? { status: 503, code: 'UNAVAILABLE' } : undefined
  }
}
