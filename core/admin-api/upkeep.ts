import { z } from 'zod'
import { call } from './call.ts'
import { atMs, next, ofCluster, page, shortId } from './fields.ts'

/** Registries and the keys of their tokens, the audit log, a restored backup, and the tracker itself. */

const tokenKeyLine = z.object({
  id: z.string(),
  registry: z.string(),
  issuer: z.string(),
  audience: z.string(),
  jwk: z.record(z.string(), z.unknown()),
  probedAtMs: atMs,
  trustedUntilMs: atMs,
  withdrawnAtMs: atMs.nullable(),
})

const restoreReport = z.object({
  backupAtMs: atMs,
  restoredAtMs: atMs,
  confirmedAtMs: atMs.nullable(),
  isGranting: z.boolean(),
  clusters: z.array(
    z.object({
      cluster: z.string(),
      nodesOnRecord: z.int(),
      nodesHeard: z.int().describe('Nodes that told what was revoked since the backup.'),
      isKeyReplaced: z.boolean().describe('The signing key was changed since the backup.'),
      learned: z.array(
        z.object({
          kind: z.enum(['node', 'pull']),
          target: z.string(),
          atMs,
          nodes: z.int().describe('Nodes that told it.'),
          isWhole: z
            .boolean()
            .describe('False: it also barred a user or token, which cannot be read any more.'),
        }),
      ),
    }),
  ),
  foreignCallers: z.int().describe('Callers with certificates of an unknown authority.'),
})

const auditEntry = z.object({
  sequence: z.int(),
  atMs,
  actor: z.string(),
  action: z.string(),
  cluster: z.string().nullable(),
  target: z.string(),
})
/** PostgreSQL refuses a text with NUL. */
const auditText = z
  .string()
  .max(300)
  .regex(/^\P{Cc}+$/u, 'a text without control characters expected')
const unlockKey = z.string().max(128)

export const UPKEEP_CALLS = {
  'registries.list': call({
    method: 'GET',
    path: '/admin/v1/registries',
    right: 'reader',
    summary: 'Lists the registries, and how their callers turned out to authenticate.',
    answer: z.object({
      registries: z.array(
        z.object({
          host: z.string(),
          apiPath: z.string().optional(),
          kinds: z.array(z.string()),
          issuer: z.string().optional(),
          audience: z.string().optional(),
        }),
      ),
    }),
    commands: ['shoal admin registry ls'],
    example: { input: {} },
  }),
  'tokenKeys.list': call({
    method: 'GET',
    path: '/admin/v1/token-keys',
    right: 'reader',
    summary: 'Lists the keys of registry tokens that a probe confirmed, and withdrawn ones.',
    answer: z.object({ tokenKeys: z.array(tokenKeyLine) }),
    commands: ['shoal admin key trusted'],
    example: { input: {} },
  }),
  'tokenKeys.withdraw': call({
    method: 'POST',
    path: '/admin/v1/token-keys/:id/withdrawal',
    right: 'admin',
    summary: 'Withdraws a key of registry tokens: pulls under it end, and it is not trusted again.',
    params: z.strictObject({ id: shortId.describe('Id of the token key.') }),
    answer: z.object({ tokenKeys: z.array(tokenKeyLine) }),
    commands: ['shoal admin key trusted --withdraw'],
    example: { input: { id: '0123456789abcdef' } },
  }),
  'audit.list': call({
    method: 'GET',
    path: '/admin/v1/audit',
    right: 'reader',
    summary: 'Lists who did what, newest first.',
    query: page.extend({
      cursor: z.coerce.number().int().positive().optional().describe('`next` of the answer before.'),
      ...ofCluster.shape,
      actor: auditText.optional().describe('Only what this one did: `token NAME`, `operator`, `tracker`, …'),
      action: auditText.optional().describe('Only this: `cluster created`, `node revoked`, …'),
      target: auditText.optional().describe('Only what was done to this node, pull, token, …'),
    }),
    answer: z.object({
      entries: z.array(auditEntry),
      next,
    }),
    commands: ['shoal admin audit'],
    example: { input: { limit: 10 } },
  }),
  'restore.show': call({
    method: 'GET',
    path: '/admin/v1/restore',
    right: 'reader',
    summary: 'Shows what a tracker with a restored backup learned from its nodes.',
    answer: z.object({ restore: restoreReport.nullable().describe('Null: it was not restored.') }),
    commands: ['shoal tracker confirm-restore --show'],
    example: { input: {} },
  }),
  'restore.confirm': call({
    method: 'POST',
    path: '/admin/v1/restore/confirmation',
    right: 'admin',
    summary: 'Lets a tracker with a restored backup grant again, and puts into force what it learned.',
    body: z.strictObject({
      isUnheard: z.boolean().default(false).describe('Although no node of a cluster was heard.'),
    }),
    answer: z.object({ revocations: z.int().describe('Revocations that were put into force.') }),
    commands: ['shoal tracker confirm-restore'],
    example: { input: { isUnheard: true } },
  }),
  'events.follow': call({
    method: 'GET',
    path: '/admin/v1/events',
    right: 'reader',
    summary:
      'Tells what happens as it happens, as server-sent events: new entries of the audit log, and the fleet.',
    query: z.strictObject({
      after: z.coerce
        .number()
        .int()
        .nonnegative()
        .optional()
        .describe('Number of the last entry that the reader knows; default: what is there now.'),
    }),
    isStream: true,
    answer: z.object({
      kind: z
        .enum(['audit', 'fleet', 'gap', 'alive'])
        .describe('`gap`: more happened than was sent; read the audit log.'),
      id: z.int().describe('Number of the last entry of the audit log that was sent.'),
      entry: auditEntry.optional(),
      fleet: z
        .array(z.object({ cluster: z.string(), nodesHeard: z.int(), isPaused: z.boolean() }))
        .optional(),
    }),
    commands: [],
    example: { input: {} },
  }),
  'settings.list': call({
    method: 'GET',
    path: '/admin/v1/settings',
    right: 'reader',
    summary:
      "Lists the tracker's settings as they count. Secrets are not among them: settings name files, and the password in a proxy’s URL is left out.",
    answer: z.object({
      settings: z.array(
        z.object({
          name: z.string(),
          value: z.unknown(),
          isDefault: z.boolean(),
          description: z.string(),
        }),
      ),
    }),
    commands: ['shoal admin settings'],
    example: { input: {} },
  }),
  'keys.reseal': call({
    method: 'POST',
    path: '/admin/v1/reseal',
    right: 'admin',
    summary: 'Seals all secrets anew: with a new data key, and if wanted under another unlock key.',
    body: z.strictObject({ unlockKey, newUnlockKey: unlockKey.optional() }),
    answer: z.object({ sealed: z.int().describe('Secrets that were sealed.') }),
    commands: ['shoal admin reseal'],
    example: { input: { unlockKey: 'SHOALKEY-1-…' } },
  }),
}
