import { type ClientRequest, request as httpRequest } from 'node:http'
import { type RequestOptions, request } from 'node:https'
import { join } from 'node:path'
import { createSecureContext, type SecureContext } from 'node:tls'
import { z } from 'zod'
import { UsageError } from '../core/errors.ts'
import type { ClusterId } from '../core/metainfo.ts'
import { ADMIN_SOCKET, UNLOCK_SOCKET } from '../core/tracker-sockets.ts'
import { shoalUserAgent } from '../core/user-agent.ts'
import { AdminRefusedError, AdminUnavailableError, NoCertificateError } from './errors.ts'
import { readTextFile } from './key-files.ts'

/**
 * How the tool reaches a tracker's admin API: through the socket in its data folder, or over TLS with a file of
 * `shoal admin certificate`, which holds all the trust that is needed.
 */
export type AdminAccess =
  | { dataDir: string }
  | {
      /** `https://127.0.0.1:7444` */
      url: string
      /** Key, certificate, and the authorities by which the tool recognises the listener. */
      pemFile: string
    }

/** The audit log's page is the largest answer. */
const ANSWER_BYTES_MAX = 1024 * 1024
/** The tracker is on this machine. */
const PATIENCE_MS = 10_000
const PEM_BLOCK = /-----BEGIN ([A-Z ]+)-----[\s\S]+?-----END \1-----/g

const ADMIN_HINT =
  'It listens on the tracker’s own machine; check that the tracker runs, and --admin-url. A locked tracker wants `shoal tracker unlock` first.'
const SOCKET_HINT =
  'Run this on the tracker’s machine, and check that the tracker runs, and --data-dir. A locked tracker wants `shoal tracker unlock` first.'
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
  CERTIFICATE_REFUSED:
    'It has ended, or the admin authority was changed: `shoal admin certificate` makes another.',
}

/** The tracker learns only the token's hash. */
export async function createCluster(
  access: AdminAccess,
  cluster: { cluster: ClusterId; name: string; joinTokenHash: string; joinTokenValidForSeconds?: number },
): Promise<void> {
  await call(access, 'POST', '/admin/v1/clusters', cluster)
}

/** All earlier tokens of the cluster end at once. */
export async function replaceJoinToken(
  access: AdminAccess,
  cluster: ClusterId,
  token: { hash: string; validForSeconds?: number },
): Promise<void> {
  await call(access, 'PUT', `/admin/v1/clusters/${cluster}/join-token`, token)
}

const rotationBegun = z.object({
  rotation: z.object({ issuesAtMs: z.number(), previousEndsAtMs: z.number() }),
})
const rotationEnded = z.object({ nodesLeft: z.number() })
const resealed = z.object({ sealed: z.number() })

/** Begins a rotation. @returns when the new authority issues, and when the tracker withdraws the previous one */
export async function addAuthority(access: AdminAccess, cluster: ClusterId, isLeaked: boolean) {
  const path = `/admin/v1/clusters/${cluster}/authorities`
  return rotationBegun.parse(await call(access, 'POST', path, { isLeaked })).rotation
}

/** Ends the rotation. @returns how many nodes must join again */
export async function withdrawAuthority(access: AdminAccess, cluster: ClusterId, isForced: boolean) {
  const path = `/admin/v1/clusters/${cluster}/authorities/withdrawal`
  return rotationEnded.parse(await call(access, 'POST', path, { isForced })).nodesLeft
}

const keyRotationBegun = z.object({
  rotation: z.object({ signsAtMs: z.number(), previousEndsAtMs: z.number() }),
})

/** Begins a change of the signing key. @returns when the new one signs, and when the previous one is withdrawn */
export async function addSigningKey(access: AdminAccess, cluster: ClusterId, isLeaked: boolean) {
  const path = `/admin/v1/clusters/${cluster}/signing-keys`
  return keyRotationBegun.parse(await call(access, 'POST', path, { isLeaked })).rotation
}

export async function withdrawSigningKey(
  access: AdminAccess,
  cluster: ClusterId,
  isForced: boolean,
): Promise<void> {
  await call(access, 'POST', `/admin/v1/clusters/${cluster}/signing-keys/withdrawal`, { isForced })
}

/** Makes a new data key, under the same unlock key or another. @returns how many values were sealed again */
export async function reseal(access: AdminAccess, keys: { unlockKey: string; newUnlockKey?: string }) {
  return resealed.parse(await call(access, 'POST', '/admin/v1/reseal', keys)).sealed
}

const certified = z.object({ certificate: z.string(), authorities: z.array(z.string()).min(1) })

/** Certifies an administrator's key; the tracker does this only on its socket. */
export async function certifyAdmin(dataDir: string, key: { publicKey: string; validForSeconds: number }) {
  return certified.parse(await call({ dataDir }, 'POST', '/admin/v1/certificates', key))
}

const adminRotation = z.object({ previousEndsAtMs: z.number().nullable() })

/** Makes a new admin authority. @returns when the tracker withdraws the previous one; null: it is gone */
export async function addAdminAuthority(access: AdminAccess, isLeaked: boolean) {
  const answer = await call(access, 'POST', '/admin/v1/admin-authorities', { isLeaked })
  return adminRotation.parse(answer).previousEndsAtMs
}

export async function withdrawAdminAuthority(access: AdminAccess): Promise<void> {
  await call(access, 'POST', '/admin/v1/admin-authorities/withdrawal', {})
}

const tokenKeyLines = z.object({
  tokenKeys: z.array(
    z.object({
      id: z.string(),
      registry: z.string(),
      issuer: z.string(),
      audience: z.string(),
      probedAtMs: z.number(),
      trustedUntilMs: z.number(),
      withdrawnAtMs: z.number().nullable(),
    }),
  ),
})
export type TokenKeyLine = z.output<typeof tokenKeyLines>['tokenKeys'][number]

/** Keys of registry tokens that a probe of the registry confirmed, and withdrawn ones. */
export async function tokenKeys(access: AdminAccess): Promise<TokenKeyLine[]> {
  return tokenKeyLines.parse(await call(access, 'GET', '/admin/v1/token-keys')).tokenKeys
}

/** @returns the withdrawn entries: the key, under every issuer and audience */
export async function withdrawTokenKey(access: AdminAccess, id: string): Promise<TokenKeyLine[]> {
  const path = `/admin/v1/token-keys/${id}/withdrawal`
  return tokenKeyLines.parse(await call(access, 'POST', path, {})).tokenKeys
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

function overTls({ url: base, pemFile }: { url: string; pemFile: string }, asked: Asked): Call {
  const url = adminUrl(base, asked.path)
  // One connection per call, because the tool ends at once.
  // Explicit, because an environment variable may change Node's default.
  const options: CallOptions = {
    method: asked.method,
    headers: asked.headers,
    secureContext: credentials(pemFile),
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
      reject(
        new AdminUnavailableError(`cannot reach ${where} (${why})`, {
          cause,
          hint: isClosed ? NOT_YOURS_HINT : hint,
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
        if (bytes > ANSWER_BYTES_MAX) response.destroy(new Error('the answer is too long'))
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
