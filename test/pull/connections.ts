import { readFileSync } from 'node:fs'

/** ESTABLISHED in the kernel's numbering (include/net/tcp_states.h). */
const ESTABLISHED = '01'

/** The far ends of IPv4 connections that were accepted on a port of this machine, as the kernel has them (proc(5)). */
export function connectionsTo(port: number): string[] {
  const hexPort = port.toString(16).toUpperCase().padStart(4, '0')
  const rows = readFileSync('/proc/net/tcp', 'latin1').trim().split('\n').slice(1)
  return rows.flatMap((row) => {
    const [, local, remote, state] = row.trim().split(/\s+/)
    return state === ESTABLISHED && local!.endsWith(`:${hexPort}`) ? [remote!] : []
  })
}
