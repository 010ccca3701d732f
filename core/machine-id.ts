import { createHmac } from 'node:crypto'
import { readIfThere } from './read-if-there.ts'

const MACHINE_ID_FILE = '/etc/machine-id'
/** Shoal's own, by chance: what other programs derive from the same machine id says nothing about ours. */
const APPLICATION_ID = Buffer.from('5f0f2c1c9a7b4e0d8b1e6d3c7a92e4b8', 'hex')

/**
 * What this machine is recognised by: a hash of its id, which itself must not be shown (machine-id(5); the same construction
 * as sd_id128_get_machine_app_specific(3)).
 * @returns 32 hex digits; undefined where there is no id, as in most containers
 */
export function machineHash(path = MACHINE_ID_FILE): string | undefined {
  const text = readIfThere(path)?.trim() ?? ''
  if (!/^[0-9a-f]{32}$/.test(text)) return undefined
  const key = Buffer.from(text, 'hex')
  return createHmac('sha256', key).update(APPLICATION_ID).digest('hex').slice(0, 32)
}
