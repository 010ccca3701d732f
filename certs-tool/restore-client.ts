import { z } from 'zod'
import { type AdminAccess, call } from './admin-client.ts'

/** The admin API's calls for a restored tracker; errors as in admin-client.ts. */

const restoreReport = z.object({
  backupAtMs: z.number(),
  restoredAtMs: z.number(),
  isGranting: z.boolean(),
  clusters: z.array(
    z.object({
      cluster: z.string(),
      nodesOnRecord: z.number(),
      nodesHeard: z.number(),
      isKeyReplaced: z.boolean(),
      learned: z.array(
        z.object({
          kind: z.enum(['node', 'pull']),
          target: z.string(),
          atMs: z.number(),
          nodes: z.number(),
          isWhole: z.boolean(),
        }),
      ),
    }),
  ),
  foreignCallers: z.number(),
})
export type RestoreReport = z.output<typeof restoreReport>

/** What a restored tracker learned; null: it was not restored. */
export async function restoreOf(access: AdminAccess): Promise<RestoreReport | null> {
  const answer = await call(access, 'GET', '/admin/v1/restore')
  return z.object({ restore: restoreReport.nullable() }).parse(answer).restore
}

/** Lets a restored tracker grant again. @returns how many revocations it put into force */
export async function confirmRestore(access: AdminAccess, isUnheard: boolean): Promise<number> {
  const answer = await call(access, 'POST', '/admin/v1/restore/confirmation', { isUnheard })
  return z.object({ revocations: z.number() }).parse(answer).revocations
}
