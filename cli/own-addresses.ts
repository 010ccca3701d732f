import { networkInterfaces } from 'node:os'

/** IPv4 first: more sites route it. Link-local ones are of no use in a certificate. */
export function ownAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  const usable = all.filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
  return usable.sort((a, b) => a.family.localeCompare(b.family)).map(({ address }) => address)
}
