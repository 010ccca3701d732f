import { z } from 'zod'
import { registriesNews } from './registries-api.ts'
import { clusterIdSchema, nodeIdSchema, pem, publicKey } from './tracker-api.ts'
import { wireVersion } from './wire-version.ts'

/** A message of the tracker's API (tracker-api.ts): POST /v1/nodes. */

/** Join with the join token, or renew the node certificate over mutual TLS without one (same key). */
export const joinRequest = z.strictObject({
  joinToken: z.string().max(200).optional(),
  publicKey,
  /** The newest that the node speaks. A tracker that knows no versions refuses it (INVALID_INPUT): ask again without. */
  wire: wireVersion,
})
export const joinResponse = z.object({
  cluster: clusterIdSchema,
  node: nodeIdSchema,
  /** Node certificate: 24 hours; renew at two thirds. */
  certificate: pem,
  validForSeconds: z.int().nonnegative(),
  /** Authorities trusted in this cluster now: one, or two during a change. */
  authorities: z.array(pem).min(1).max(2),
  /** Absent: an older tracker. */
  registries: registriesNews.optional(),
  /** The newest version that the tracker knows. Absent: an older tracker, which refuses `wire` in any message. */
  wire: z.int().positive().optional(),
  /** For the same key as the node certificate. Absent: the node has no links, or the tracker is older. */
  linkCertificate: z.object({ certificate: pem, validForSeconds: z.int().nonnegative() }).optional(),
})

export type JoinRequest = z.input<typeof joinRequest>
export type JoinResponse = z.output<typeof joinResponse>
