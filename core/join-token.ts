import { createHash } from 'node:crypto'
import type { ClusterId } from './metainfo.ts'

/** A join token: `SHOAL-1-<cluster id>-<43 characters of base64url>`, 256 random bits. */
const JOIN_TOKEN = /^SHOAL-1-(c[0-9a-f]{16})-[A-Za-z0-9_-]{43}$/

/** The cluster of a join token, or undefined if the text is not one. */
export function clusterOfJoinToken(joinToken: string): ClusterId | undefined {
  return JOIN_TOKEN.exec(joinToken)?.[1] as ClusterId | undefined
}

/** SHA-256 of the whole token, 64 hex digits; the tracker stores only this. */
export function joinTokenHash(joinToken: string): string {
  return createHash('sha256').update(joinToken).digest('hex')
}
