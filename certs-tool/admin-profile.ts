import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { z } from 'zod'
import { ConfigError, isReadableByOthers } from '../core/config.ts'
import { UsageError } from '../core/errors.ts'
import type { RemoteAccess } from './admin-client.ts'
import { readTextFile } from './key-files.ts'

/** A tracker elsewhere, under a name: `~/.config/shoal/NAME.json`, for its owner alone. */

const path = z.string().min(1).max(4096)
/** Paths count from the profile's own folder. */
const profile = z
  .strictObject({
    url: z.string().max(2048),
    caFile: path.optional(),
    tokenFile: path.optional(),
    pemFile: path.optional(),
  })
  .refine(({ tokenFile, pemFile }) => (tokenFile === undefined) !== (pemFile === undefined), {
    error: 'either tokenFile or pemFile expected',
  })

/** @throws UsageError, ConfigError, FileAccessError */
export function profileAccess(name: string, home = homedir()): RemoteAccess {
  if (!/^[a-z0-9][a-z0-9._-]{0,62}$/.test(name)) {
    throw new UsageError(`not the name of a profile: ${name.slice(0, 80)}`, {
      hint: 'Lower-case letters, digits, dots, hyphens and underscores.',
    })
  }
  const file = join(home, '.config', 'shoal', `${name}.json`)
  const text = readTextFile(file)
  if (isReadableByOthers(file)) {
    throw new ConfigError(`others can read ${file}`, { hint: `chmod 600 ${file}` })
  }
  const read = profile.safeParse(jsonOf(text))
  if (!read.success) {
    const { path: where = [], message = '' } = read.error.issues[0] ?? {}
    throw new ConfigError(`${file}: ${[...where, message].join(': ')}`, {
      hint: 'It has url, tokenFile and caFile: docs/admin.md has an example.',
    })
  }
  const { url, caFile, tokenFile, pemFile } = read.data
  const at = (one: string) => resolve(dirname(file), one)
  if (pemFile !== undefined) return { url, pemFile: at(pemFile) }
  return { url, tokenFile: at(tokenFile!), caFile: caFile === undefined ? undefined : at(caFile) }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
