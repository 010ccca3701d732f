import { z } from 'zod'
import type { ClusterId } from '../core/metainfo.ts'
import { clusterIdSchema } from '../core/tracker-api.ts'
import { type AdminAccess, call } from './admin-client.ts'

/** The admin API's calls for join tokens; errors as in admin-client.ts. */

const clusterList = z.object({ clusters: z.array(z.object({ cluster: clusterIdSchema, name: z.string() })) })

export async function clusters(access: AdminAccess) {
  return clusterList.parse(await call(access, 'GET', '/admin/v1/clusters')).clusters
}

const joinAddress = z.object({ trackers: z.array(z.string()), authorityPin: z.string().nullable() })

/** Where nodes find the tracker, and the pin of its authority (base64url); null: its certificate file has none. */
export async function trackerJoinAddress(access: AdminAccess) {
  return joinAddress.parse(await call(access, 'GET', '/admin/v1/join-address'))
}

const joinTokenLine = z.object({
  id: z.string(),
  createdAtMs: z.number(),
  validUntilMs: z.number().nullable(),
  usesMax: z.number().nullable(),
  uses: z.number(),
  standing: z.string().max(32),
})
export type JoinTokenLine = z.output<typeof joinTokenLine>
const joinTokenAdded = z.object({ joinToken: joinTokenLine })
const joinTokenList = z.object({ joinTokens: z.array(joinTokenLine) })

export async function addJoinToken(
  access: AdminAccess,
  cluster: ClusterId,
  token: { hash: string; validForSeconds?: number | undefined; usesMax?: number | undefined },
): Promise<JoinTokenLine> {
  const path = `/admin/v1/clusters/${cluster}/join-tokens`
  return joinTokenAdded.parse(await call(access, 'POST', path, token)).joinToken
}

export async function joinTokens(access: AdminAccess, cluster: ClusterId): Promise<JoinTokenLine[]> {
  const path = `/admin/v1/clusters/${cluster}/join-tokens`
  return joinTokenList.parse(await call(access, 'GET', path)).joinTokens
}

export async function withdrawJoinToken(access: AdminAccess, cluster: ClusterId, id: string): Promise<void> {
  await call(access, 'DELETE', `/admin/v1/clusters/${cluster}/join-tokens/${id}`)
}
