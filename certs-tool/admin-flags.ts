import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { FlagValues } from '../core/command.ts'
import { UsageError } from '../core/errors.ts'
import { ADMIN_SOCKET } from '../core/tracker-sockets.ts'
import { isOfThisUser, UP_DATA_DIR, UP_TRACKER_DIR } from '../core/up-folders.ts'
import type { AdminAccess } from './admin-client.ts'
import { profileAccess } from './admin-profile.ts'
import type { NewFile } from './key-files.ts'
import { readTextFile, writeNewFiles } from './key-files.ts'

/** Ten years; for no end, omit the flag. */
const HOURS_MAX = 10 * 365 * 24

/** Default of `shoal tracker --data-dir`. */
export const TRACKER_DATA_DIR = '/var/lib/shoal-tracker'

/** The tracker's data folder. */
export const DATA_DIR_FLAG = {
  type: 'string',
  value: 'folder',
  description: `The tracker's data folder; a running tracker accepts commands on a socket in it. Default: ${TRACKER_DATA_DIR}, or that of \`shoal up\` in this folder.`,
} as const

/** Flags of the commands that talk to a tracker. */
export const ADMIN_FLAGS = {
  'data-dir': DATA_DIR_FLAG,
  'admin-pem': {
    type: 'string',
    value: 'file',
    description:
      'Goes to the admin API over TLS instead, with the key and certificate in a file of `shoal admin certificate`.',
  },
  'admin-url': {
    type: 'string',
    value: 'url',
    default: 'https://127.0.0.1:7444',
    description: "With --admin-pem or --admin-token-file: the URL of the tracker's admin API.",
  },
  'admin-token-file': {
    type: 'string',
    value: 'file',
    description:
      'Goes to the admin API over TLS with the token in this file, of `shoal admin token create NAME`.',
  },
  'admin-ca-file': {
    type: 'string',
    value: 'file',
    description:
      "With --admin-token-file: PEM authorities of the admin API's certificate. Default: the system's.",
  },
  profile: {
    type: 'string',
    value: 'name',
    description: 'Takes URL, authorities and token from ~/.config/shoal/NAME.json (docs/admin.md).',
  },
} as const

export const CLUSTER_FLAG = {
  type: 'string',
  value: 'name or id',
  description: 'The cluster. May be left out if the tracker has only one.',
} as const

/** @throws UsageError, ConfigError, FileAccessError */
export function adminAccess(values: FlagValues<typeof ADMIN_FLAGS>): AdminAccess {
  const pemFile = values['admin-pem']
  const tokenFile = values['admin-token-file']
  const url = values['admin-url']
  const ways = [pemFile, tokenFile, values.profile].filter((way) => way !== undefined)
  if (ways.length > 1) {
    throw new UsageError('--admin-pem, --admin-token-file and --profile are three ways to the same', {
      hint: 'Give one of them.',
    })
  }
  if (values.profile !== undefined) return profileAccess(values.profile)
  if (pemFile !== undefined) return { url, pemFile }
  if (tokenFile !== undefined) return { url, tokenFile, caFile: values['admin-ca-file'] }
  return { dataDir: trackerDataDir(values['data-dir']) }
}

/** Which tracker of this machine a command talks to: that of the flag; else the package's; else that of `shoal up` in this folder. */
export function trackerDataDir(named: string | undefined, usual = TRACKER_DATA_DIR): string {
  if (named !== undefined) return named
  const up = join(UP_DATA_DIR, UP_TRACKER_DIR)
  const isUp = !existsSync(join(usual, ADMIN_SOCKET)) && isOfThisUser(join(up, ADMIN_SOCKET))
  return isUp ? up : usual
}

export const JOIN_TOKEN_FLAGS = {
  'valid-hours': {
    type: 'string',
    value: 'number',
    description: 'The join token ends after this time; without the flag it never ends.',
  },
  out: {
    type: 'string',
    value: 'file',
    description: 'Write the join token to this file (mode 0600) instead of printing it.',
  },
  force: { type: 'boolean', description: 'Replace a file that exists.' },
} as const

/** @throws UsageError @returns undefined: no end */
export function joinTokenSeconds(hours: string | undefined): number | undefined {
  if (hours === undefined) return undefined
  if (!/^\d{1,6}$/.test(hours) || Number(hours) < 1 || Number(hours) > HOURS_MAX) {
    throw new UsageError(`not a number of hours: ${hours.slice(0, 80)}`, { hint: `Write 1 to ${HOURS_MAX}.` })
  }
  return Number(hours) * 3600
}

/** @param path `-` is standard input @throws FileAccessError */
export function readSecret(path: string): string {
  return readTextFile(path).trim()
}

/** Only this result has the token: the tracker knows only its hash. */
export function deliverJoinToken(
  joinToken: string,
  { out, force }: { out: string | undefined; force: boolean },
): string {
  if (out === undefined) return `${joinToken}\n`
  const file: NewFile = { path: out, content: joinToken, isSecret: true }
  writeNewFiles([file], force)
  return `${out}  shoal node --join-token-file\n`
}
