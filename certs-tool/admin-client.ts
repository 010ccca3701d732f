import { type ClientRequest, request as httpRequest } from 'node:http'
import { type RequestOptions, request } from 'node:https'
import { join } from 'node:path'
import { createSecureContext, type SecureContext } from 'node:tls'
import { z } from 'zod'
import {
  type AnsweredFor,
  type CallName,
  callOf,
  type GivenFor,
  pathOf,
  split,
} from '../core/admin-api/calls.ts'
import { ShoalError, UsageError } from '../core/errors.ts'
import { ADMIN_SOCKET, UNLOCK_SOCKET } from '../core/tracker-sockets.ts'
import { shoalUserAgent } from '../core/user-agent.ts'
import { AdminRefusedError, AdminUnavailableError, NoCertificateError } from './errors.ts'
import { readTextFile } from './key-files.ts'
import { isAdminToken } from './secrets.ts'

/**
 * How the tool reaches a tracker's admin API: through the socket in its data folder, or over TLS with a file of
 * `shoal admin certificate`, which holds all the trust that is needed, or with a token.
 */
export type AdminAccess = { dataDir: string } | RemoteAccess

export type RemoteAccess = {
  /** `https://127.0.0.1:7444` */
  url: string
} & (
  | {
      /** Key, certificate, and the authorities by which the tool recognises the listener. */
      pemFile: string
    }
  | {
      /** A token of `shoal admin token create NAME`. */
      tokenFile: string
      /** PEM authorities of the listener's certificate; absent: the system's. */
      caFile?: string | undefined
    }
)

/** Bound of an answer, in bytes: a page of nodes with all the labels that they may have stays below. */
export const ADMIN_ANSWER_BYTES_MAX = 8 * 1024 * 1024
/** The tracker is on this machine. */
const PATIENCE_MS = 10_000
const PEM_BLOCK = /-----BEGIN ([A-Z ]+)-----[\s\S]+?-----END \1-----/g

const ADMIN_HINT =
  'Check that the tracker runs, and the URL (--admin-url, or that of the profile): without adminListen it is on the tracker’s own machine only. A locked tracker wants `shoal tracker unlock` first.'
const SOCKET_HINT =
  'Run this on the tracker’s machine, and check that the tracker runs, and --data-dir. A locked tracker wants `shoal tracker unlock` first.'
const UNVERIFIED_HINT =
  'Its certificate is not of an authority that is trusted here, or not for this name: give --admin-ca-file, and the name that the certificate has.'
const NOT_YOURS_HINT = 'Run this as the user that the tracker runs as, or as root.'
const LOCKED_HINT =
  'It exists while the tracker waits for its key. Check that the tracker runs, and --data-dir.'

const refusal = z.object({ error: z.object({ code: z.string().max(64), message: z.string().max(1024) }) })
const HINTS: Record<string, string> = {
  CLUSTER_UNKNOWN: 'Check the cluster id; it is the middle part of its join token.',
  ROTATION_UNDER_WAY: 'The tracker withdraws the previous one within about a day; --withdraw does it now.',
  ROTATION_TOO_EARLY:
    'Wait: nodes renew by themselves. With --force, the remaining nodes must join again (authority) or use the registry for a while (signing key).',
  ROTATION_NONE: 'Without --withdraw a rotation begins.',
  JOIN_TOKEN_UNKNOWN: '`shoal admin token ls` lists the join tokens with their ids.',
  JOIN_TOKENS_TOO_MANY: 'Withdraw those that nobody needs: `shoal admin token ls` lists them.',
  TOKEN_KEY_UNKNOWN: '`shoal admin key trusted` lists the keys with their ids.',
  RESTORE_UNHEARD:
    'Nodes tell within a heartbeat (half a minute) once they reach the tracker. If no node is left that knows, add --unheard.',
  UNLOCK_KEY: 'Give the key that this tracker is unlocked with now.',
  LOGIN_REFUSED: 'It may have ended: `shoal admin token ls --admins` lists those that count.',
  ROLE_TOO_LOW: 'docs/admin.md has the role of each call.',
  ADMIN_TOKEN_EXISTS: 'Withdraw it first, or take another name: `shoal admin token ls --admins` lists them.',
  ADMIN_TOKEN_UNKNOWN: '`shoal admin token ls --admins` lists the tokens of administrators.',
  CERTIFICATE_REFUSED:
    'It has ended, or the admin authority was changed: `shoal admin certificate` makes another.',
}

/** Asks a call of the table (core/admin-api/calls.ts). @throws as `call` */
export async function ask<Name extends CallName>(
  access: AdminAccess,
  name: Name,
  input: GivenFor<Name>,
): Promise<AnsweredFor<Name>> {
  const one = callOf(name)
  const given = input as Record<string, unknown>
  const { body } = split(one, given)
  const takesBody = Object.keys(one.body.shape).length > 0
  const answer = await call(access, one.method, pathOf(one, given), takesBody ? body : undefined)
  const read = one.answer.safeParse(answer)
  if (read.success) return read.data as AnsweredFor<Name>
  throw new AdminUnavailableError('the tracker answers in a form that this program does not know', {
    cause: read.error,
    hint: 'Use the version of Shoal that the tracker has.',
  })
}

/** Gives a locked tracker its unlock key, through the socket in its data folder. */
export async function unlock(dataDir: string, unlockKey: string): Promise<void> {
  const socketPath = join(dataDir, UNLOCK_SOCKET)
  const sent = httpRequest({
    socketPath,
    method: 'POST',
    path: '/',
    headers: { 'content-type': 'text/plain' },
  })
  await answered(await exchange(sent, unlockKey, { where: `the socket ${socketPath}`, hint: LOCKED_HINT }))
}

/**
 * @throws AdminRefusedError if the tracker refuses
 * @throws AdminUnavailableError if it does not answer like a tracker
 */
export async function call(
  access: AdminAccess,
  method: string,
  path: string,
  body?: object,
): Promise<unknown> {
  const content = body === undefined ? {} : { 'content-type': 'application/json' }
  const headers = { 'user-agent': shoalUserAgent(), ...content }
  const asked = { method, path, headers }
  const { sent, at } = 'dataDir' in access ? throughSocket(access, asked) : overTls(access, asked)
  return answered(await exchange(sent, body === undefined ? '' : JSON.stringify(body), at))
}

interface Call {
  sent: ClientRequest
  at: Place
}

/** The place of a call, for messages. */
interface Place {
  where: string
  hint: string
}

interface Asked {
  method: string
  path: string
  headers: Record<string, string>
}

function throughSocket({ dataDir }: { dataDir: string }, asked: Asked): Call {
  const socketPath = join(dataDir, ADMIN_SOCKET)
  const sent = httpRequest({ ...asked, socketPath, agent: false })
  return { sent, at: { where: `the tracker's socket ${socketPath}`, hint: SOCKET_HINT } }
}

function overTls(access: RemoteAccess, asked: Asked): Call {
  const url = adminUrl(access.url, asked.path)
  // One connection per call, because the tool ends at once.
  // Explicit, because an environment variable may change Node's default.
  const options: CallOptions = {
    method: asked.method,
    headers: { ...asked.headers, ...loginOf(access) },
    secureContext: contextOf(access),
    agent: false,
    rejectUnauthorized: true,
  }
  const where = `the tracker's admin API at ${url.origin}`
  return { sent: request(url, options), at: { where, hint: ADMIN_HINT } }
}

function answered(answer: Answer): unknown {
  const parsed = parseJson(answer.text)
  if (answer.status < 300 && parsed !== undefined) return parsed
  const refused = refusal.safeParse(parsed)
  if (!refused.success) {
    throw new AdminUnavailableError(`${answer.where} answered ${answer.status}, not as a tracker does`, {
      hint: 'Check that this is the tracker (--data-dir, --admin-url).',
    })
  }
  const { code, message } = refused.data.error
  throw new AdminRefusedError(`the tracker refused: ${message}`, code, HINTS[code])
}

function adminUrl(base: string, path: string): URL {
  const url = URL.canParse(base) ? new URL(path, base) : undefined
  if (url?.protocol !== 'https:') {
    throw new UsageError(`not an https:// URL: ${base.slice(0, 80)}`, {
      hint: 'By default the admin API listens on https://127.0.0.1:7444.',
    })
  }
  return url
}

/** @throws UsageError if the file holds no token; FileAccessError */
function loginOf(access: RemoteAccess): Record<string, string> {
  if (!('tokenFile' in access)) return {}
  const token = readTextFile(access.tokenFile).trim()
  if (!isAdminToken(token)) {
    throw new UsageError(`${access.tokenFile} holds no token of an administrator`, {
      hint: '`shoal admin token create NAME --role reader` makes one, on the tracker’s machine.',
    })
  }
  return { authorization: `Bearer ${token}` }
}

/** @throws NoCertificateError, FileAccessError */
function contextOf(access: RemoteAccess): SecureContext {
  if ('pemFile' in access) return credentials(access.pemFile)
  const { caFile } = access
  try {
    return createSecureContext({
      minVersion: 'TLSv1.3',
      ...(caFile === undefined ? {} : { ca: readTextFile(caFile) }),
    })
  } catch (cause) {
    if (cause instanceof ShoalError) throw cause
    throw new NoCertificateError(`${caFile} has no certificate of an authority`, { cause })
  }
}

/** @throws NoCertificateError */
function credentials(pemFile: string): SecureContext {
  const blocks = [...readTextFile(pemFile).matchAll(PEM_BLOCK)]
  const key = blocks.find(([, label]) => label?.endsWith('PRIVATE KEY'))?.[0]
  const [cert, ...ca] = blocks.filter(([, label]) => label === 'CERTIFICATE').map(([pem]) => pem)
  const hint = '`shoal admin certificate` makes one, on the tracker’s machine.'
  if (key === undefined || cert === undefined || ca.length === 0) {
    throw new NoCertificateError(
      `${pemFile} is no administrator’s file: key, certificate and authority expected`,
      {
        hint,
      },
    )
  }
  try {
    return createSecureContext({ key, cert, ca, minVersion: 'TLSv1.3' })
  } catch (cause) {
    throw new NoCertificateError(`${pemFile} is no administrator’s file: its parts do not fit`, {
      cause,
      hint,
    })
  }
}

/** Node accepts a ready context (tls.connect), although its types for HTTPS do not say so. */
type CallOptions = RequestOptions & { secureContext: SecureContext }

interface Answer {
  where: string
  status: number
  text: string
}

function exchange(sent: ClientRequest, body: string, { where, hint }: Place): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const fail = (cause: Error) => {
      const why = (cause as NodeJS.ErrnoException).code ?? cause.message
      const isClosed = why === 'EACCES' || why === 'EPERM'
      const isUnverified = /CERT|VERIFY/.test(why)
      reject(
        new AdminUnavailableError(`${isUnverified ? 'cannot verify' : 'cannot reach'} ${where} (${why})`, {
          cause,
          hint: isClosed ? NOT_YOURS_HINT : isUnverified ? UNVERIFIED_HINT : hint,
        }),
      )
    }
    sent.setTimeout(PATIENCE_MS, () => sent.destroy(new Error('no answer in time')))
    sent.on('error', fail)
    sent.on('response', (response) => {
      const chunks: Buffer[] = []
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes > ADMIN_ANSWER_BYTES_MAX) response.destroy(new Error('the answer is too long'))
        else chunks.push(chunk)
      })
      response.on('error', fail)
      response.on('end', () =>
        resolve({ where, status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
      )
    })
    sent.end(body)
  })
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
