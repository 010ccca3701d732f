import type { AdminAccess } from './admin-client.ts'
import type { NewFile } from './key-files.ts'
import { writeNewFiles } from './key-files.ts'

/** Flags of the commands that talk to a tracker. */
export const ADMIN_FLAGS = {
  'admin-url': {
    type: 'string',
    value: 'url',
    default: 'https://127.0.0.1:7444',
    description: "The tracker's admin API.",
  },
  'admin-pem': {
    type: 'string',
    value: 'file',
    default: '/var/lib/shoal-tracker/admin.pem',
    description: 'The admin key and certificate that the tracker wrote into its data folder.',
  },
} as const

export function adminAccess(values: { 'admin-url': string; 'admin-pem': string }): AdminAccess {
  return { url: values['admin-url'], pemFile: values['admin-pem'] }
}

export const JOIN_TOKEN_FLAGS = {
  out: {
    type: 'string',
    value: 'file',
    description: 'Write the join token there (mode 0600) instead of printing it.',
  },
  force: { type: 'boolean', description: 'Replace a file that exists.' },
} as const

/** Nothing but this result holds the token: the tracker knows its hash only. */
export function deliverJoinToken(
  joinToken: string,
  { out, force }: { out: string | undefined; force: boolean },
): string {
  if (out === undefined) return `${joinToken}\n`
  const file: NewFile = { path: out, content: joinToken, isSecret: true }
  writeNewFiles([file], force)
  return `${out}  shoal node --join-token-file\n`
}
