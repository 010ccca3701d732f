import { createHash } from 'node:crypto'
import { ADMIN_TOKEN_SECONDS_MAX } from '../../core/admin-api/administrators.ts'
import { ROLES, type Role } from '../../core/admin-api/call.ts'
import { command } from '../../core/command.ts'
import { UsageError } from '../../core/errors.ts'
import { utcText } from '../../core/time-text.ts'
import { type AdminAccess, ask } from '../admin-client.ts'
import { ADMIN_FLAGS, adminAccess, CLUSTER_FLAG } from '../admin-flags.ts'
import { durationSeconds, JOIN_TERM_FLAGS, joinTerms } from '../join-terms.ts'
import { refuseExisting, writeNewFiles } from '../key-files.ts'
import { newAdminToken } from '../secrets.ts'
import { joinTokenRow, joinTokensOf, madeJoinText, withdrawJoinToken } from './join-tokens.ts'

/**
 * `shoal admin token`: tokens of machines that join a cluster, which have ids, and tokens of people and programs that
 * administer, which have names.
 */

const ADMIN_TOKEN_ENDS_DEFAULT = '30d'

export const tokenCreateCommand = command({
  positionals: ['[name]'],
  flags: {
    ...ADMIN_FLAGS,
    cluster: CLUSTER_FLAG,
    ...JOIN_TERM_FLAGS,
    tracker: {
      type: 'string',
      multiple: true,
      value: 'host:port',
      description:
        'Where nodes reach the tracker; may be repeated. Default: the setting advertise of the tracker.',
    },
    role: {
      type: 'string',
      value: 'role',
      description: `With a name, what the token is for: ${ROLES.join(', ')}. Each may do what those before it may.`,
    },
    ends: {
      type: 'string',
      value: 'time',
      description: `With a name: the token ends after this time, at most 366d. Default: ${ADMIN_TOKEN_ENDS_DEFAULT}.`,
    },
    quiet: { type: 'boolean', description: 'Print the join string or the token alone.' },
    out: {
      type: 'string',
      value: 'file',
      description: 'Write it to this file (mode 0600) instead of printing it.',
    },
    force: { type: 'boolean', description: 'Replace a file that exists.' },
  },
  async run(values, [name]) {
    if (values.out !== undefined) refuseExisting([values.out], values.force)
    if (name !== undefined) return madeAdminToken(adminAccess(values), { ...values, name })
    if (values.role !== undefined || values.ends !== undefined) {
      throw new UsageError('--role and --ends are for a token with a name', {
        hint: 'shoal admin token create NAME --role reader',
      })
    }
    const terms = joinTerms(values)
    return madeJoinText(adminAccess(values), { ...values, terms, trackers: values.tracker })
  },
})

interface AdminTokenWanted {
  name: string
  role: string | undefined
  ends: string | undefined
  quiet: boolean
  out: string | undefined
  force: boolean
}

async function madeAdminToken(access: AdminAccess, wanted: AdminTokenWanted): Promise<string> {
  const { name, role = '', out, quiet, force } = wanted
  if (!isRole(role)) {
    throw new UsageError(role === '' ? `${name} needs a --role` : `not a role: ${role.slice(0, 80)}`, {
      hint: `Write --role ${ROLES.join(', or ')}.`,
    })
  }
  const validForSeconds = durationSeconds(
    wanted.ends ?? ADMIN_TOKEN_ENDS_DEFAULT,
    'Write 12h, 30d, at most 366d.',
  )
  if (validForSeconds > ADMIN_TOKEN_SECONDS_MAX) {
    throw new UsageError(`too long a time: ${wanted.ends}`, { hint: 'At most 366d.' })
  }
  const token = newAdminToken()
  const hash = createHash('sha256').update(token).digest('hex')
  const made = await ask(access, 'adminTokens.create', { name, role, hash, validForSeconds })
  if (out !== undefined) {
    writeNewFiles([{ path: out, content: token, isSecret: true }], force)
    return `${out}  shoal admin … --admin-token-file\n`
  }
  const until = utcText(made.token.endsAtMs)
  return quiet
    ? `${token}\n`
    : `The token of ${name}, with the role ${role} until ${until}, shown only now:\n\n  ${token}\n`
}

function isRole(text: string): text is Role {
  return (ROLES as readonly string[]).includes(text)
}

export const tokenListCommand = command({
  positionals: [],
  flags: {
    ...ADMIN_FLAGS,
    cluster: CLUSTER_FLAG,
    admins: { type: 'boolean', description: 'List the tokens of administrators instead.' },
    json: { type: 'boolean', description: 'Print a JSON array instead.' },
  },
  async run(values) {
    const access = adminAccess(values)
    if (values.admins) {
      const { tokens } = await ask(access, 'adminTokens.list', {})
      if (values.json) return `${JSON.stringify(tokens, null, 2)}\n`
      const rows = tokens.map(({ name, role, endsAtMs }) => [name, role, utcText(endsAtMs)])
      return rows.length === 0
        ? 'no token of an administrator counts\n'
        : tableOf(['NAME', 'ROLE', 'ENDS'], rows)
    }
    const tokens = await joinTokensOf(access, values.cluster)
    if (values.json) return `${JSON.stringify(tokens, null, 2)}\n`
    if (tokens.length === 0) return 'no join token is valid, and none ended within a week\n'
    return tableOf(['ID', 'STANDING', 'JOINED', 'OF', 'ENDS'], tokens.map(joinTokenRow))
  },
})

function tableOf(titles: string[], rows: string[][]): string {
  const widths = titles.map((title, at) => Math.max(title.length, ...rows.map((row) => row[at]!.length)))
  const lines = [titles, ...rows].map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at]!))
      .join('  ')
      .trimEnd(),
  )
  return `${lines.join('\n')}\n`
}

export const tokenWithdrawCommand = command({
  positionals: ['token id or name'],
  flags: { ...ADMIN_FLAGS, cluster: CLUSTER_FLAG },
  async run(values, [token = '']) {
    const access = adminAccess(values)
    if (/^[0-9a-f]{16}$/.test(token)) return withdrawJoinToken(access, values.cluster, token)
    if (!/^[a-z0-9._-]{1,63}$/.test(token)) {
      throw new UsageError(`not the id of a join token, nor the name of another: ${token.slice(0, 80)}`, {
        hint: 'It is the first column of `shoal admin token ls`, or of `shoal admin token ls --admins`.',
      })
    }
    await ask(access, 'adminTokens.withdraw', { name: token })
    return `the token of ${token} is withdrawn\n`
  },
})
