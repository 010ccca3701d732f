import { createHash, timingSafeEqual } from 'node:crypto'
import { z } from 'zod'
import { ShoalError } from './errors.ts'
import { clusterOfJoinToken } from './join-token.ts'
import type { ClusterId } from './metainfo.ts'

/**
 * A join string: all that a machine needs to become a node. `SHOALJOIN-1-`, then in base64url: the authority's pin (32
 * bytes), the cluster's id (8), the join token's secret (32), the trackers' addresses (UTF-8, separated by commas), and a
 * checksum (4), which tells a typing error from an expired token.
 */

const PREFIX = 'SHOALJOIN-1-'
const OF_ANY_VERSION = /^SHOALJOIN-\d{1,6}-/
const PIN_BYTES = 32
const CLUSTER_BYTES = 8
const SECRET_BYTES = 32
const CHECKSUM_BYTES = 4
const FIXED_BYTES = PIN_BYTES + CLUSTER_BYTES + SECRET_BYTES
/** Bound of a join string: eight addresses with the longest names. */
export const JOIN_STRING_CHARS_MAX = 4096
/** Addresses of trackers in one join string. */
export const TRACKERS_MAX = 8

const TRACKER_ADDRESS = /^(?:\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9_.-]{1,253}):(\d{1,5})$/

/** `tracker.example.com:7443`, `10.0.0.5:7443`, `[2001:db8::5]:7443`. */
export const trackerAddress = z.string().refine(
  (text) => {
    const port = Number(TRACKER_ADDRESS.exec(text)?.[1] ?? 0)
    return port >= 1 && port <= 65535
  },
  { error: 'expected host:port, as tracker.example.com:7443' },
)

export interface JoinString {
  /** SHA-256 of the SubjectPublicKeyInfo of the authority that signed the trackers' certificates. */
  authorityPin: Buffer
  cluster: ClusterId
  /** `SHOAL-1-…`, as in joinTokenFile. */
  joinToken: string
  trackers: string[]
}

/** Not a join string of this version, or mistyped: nothing was asked of a tracker. */
export class JoinStringError extends ShoalError {
  readonly code: 'JOIN_STRING' | 'JOIN_STRING_VERSION' | 'JOIN_STRING_TYPO'

  constructor(code: JoinStringError['code'], message: string, hint: string) {
    super(`${message} (${code})`, { hint })
    this.code = code
  }
}

/** @param joinToken `SHOAL-1-…` */
export function joinStringOf({ authorityPin, joinToken, trackers }: Omit<JoinString, 'cluster'>): string {
  const cluster = clusterOfJoinToken(joinToken)
  if (cluster === undefined || authorityPin.length !== PIN_BYTES)
    throw new TypeError('no join token, or no pin')
  const body = Buffer.concat([
    authorityPin,
    Buffer.from(cluster.slice(1), 'hex'),
    Buffer.from(joinToken.slice(-43), 'base64url'),
    Buffer.from(trackers.join(',')),
  ])
  return PREFIX + Buffer.concat([body, checksumOf(body)]).toString('base64url')
}

/**
 * White space does not count: a long line may have been copied from a terminal in pieces.
 * @throws JoinStringError
 */
export function parseJoinString(given: string): JoinString {
  const text = given.slice(0, 2 * JOIN_STRING_CHARS_MAX).replaceAll(/\s+/g, '')
  if (!text.startsWith(PREFIX)) throw notOne(text)
  const all = Buffer.from(text.slice(PREFIX.length), 'base64url')
  const body = all.subarray(0, -CHECKSUM_BYTES)
  const isWhole =
    text.length <= JOIN_STRING_CHARS_MAX &&
    // Letters that base64url does not have are skipped when it is read.
    text === PREFIX + all.toString('base64url') &&
    body.length > FIXED_BYTES &&
    timingSafeEqual(checksumOf(body), all.subarray(-CHECKSUM_BYTES))
  if (!isWhole) throw mistyped()
  const cluster = `c${body.subarray(PIN_BYTES, PIN_BYTES + CLUSTER_BYTES).toString('hex')}` as ClusterId
  const secret = body.subarray(FIXED_BYTES - SECRET_BYTES, FIXED_BYTES).toString('base64url')
  const trackers = z
    .array(trackerAddress)
    .max(TRACKERS_MAX)
    .safeParse(body.subarray(FIXED_BYTES).toString('utf8').split(','))
  if (!trackers.success) throw mistyped()
  return {
    authorityPin: Buffer.from(body.subarray(0, PIN_BYTES)),
    cluster,
    joinToken: `SHOAL-1-${cluster}-${secret}`,
    trackers: trackers.data,
  }
}

function checksumOf(body: Buffer): Buffer {
  return createHash('sha256').update(PREFIX).update(body).digest().subarray(0, CHECKSUM_BYTES)
}

const MAKE = '`shoal admin token create`, on the tracker’s machine, makes one.'

function notOne(text: string): JoinStringError {
  if (OF_ANY_VERSION.test(text)) {
    const hint = 'Upgrade Shoal on this machine to the tracker’s version.'
    return new JoinStringError('JOIN_STRING_VERSION', 'a newer version of Shoal made this join string', hint)
  }
  if (clusterOfJoinToken(text) !== undefined) {
    const hint = `A join string begins with ${PREFIX}. ${MAKE} A token goes with shoal node --join-token-file.`
    return new JoinStringError('JOIN_STRING', 'this is a join token and not a join string', hint)
  }
  return new JoinStringError(
    'JOIN_STRING',
    `this is not a join string: it does not begin with ${PREFIX}`,
    MAKE,
  )
}

function mistyped(): JoinStringError {
  return new JoinStringError(
    'JOIN_STRING_TYPO',
    'the join string is mistyped or incomplete: its checksum is wrong',
    'Copy the whole line again.',
  )
}
