import { fork } from 'node:child_process'
import { once } from 'node:events'

/** TCP connections that never say anything, held by a process of their own: what they cost it is not the node's. */
export interface HalfOpen {
  /** Not closed by the other side so far. */
  readonly count: number
  close(): void
}

export async function openHalf(address: { host: string; port: number }, total: number): Promise<HalfOpen> {
  const program = new URL('half-open-main.ts', import.meta.url).pathname
  const holder = fork(program, [address.host, String(address.port), String(total)], { execArgv: [] })
  let count = 0
  holder.on('message', (open) => {
    count = Number(open)
  })
  const [first] = await Promise.race([once(holder, 'message'), once(holder, 'exit')])
  if (holder.exitCode !== null) throw new Error(`the attacker ended before it had its connections: ${first}`)
  return {
    get count() {
      return count
    },
    close: () => void holder.kill(),
  }
}
