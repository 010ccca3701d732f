import { readFileSync } from 'node:fs'

/** Shoal's version, as in package.json. */
export function shoalVersion(): string {
  const manifest = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
  return (JSON.parse(manifest) as { version: string }).version
}

/** What a node calls itself towards peers (BEP 10's `v`). */
export function peerVersion(): string {
  return `Shoal ${shoalVersion()}`
}
