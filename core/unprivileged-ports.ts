import { readFileSync } from 'node:fs'

/** The first port that needs no rights to listen on (ip_unprivileged_port_start; in containers it is often 0). */
export function unprivilegedPortsFrom(): number {
  const usual = 1024
  try {
    return Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'))
  } catch {
    return usual
  }
}
