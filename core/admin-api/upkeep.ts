import { z } from 'zod'
import { call } from './call.ts'
import { atMs, next, page, shortId } from './fields.ts'

/** Registries and the keys of their tokens, the audit log, and the tracker itself. */

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
    commands: [],
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
    }),
    answer: z.object({
      entries: z.array(
        z.object({
          sequence: z.int(),
          atMs,
          actor: z.string(),
          action: z.string(),
          cluster: z.string().nullable(),
          target: z.string(),
        }),
      ),
      next,
    }),
    commands: [],
    example: { input: { limit: 10 } },
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
