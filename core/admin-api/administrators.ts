import { z } from 'zod'
import { call, ROLES } from './call.ts'
import { atMs, isLeaked, sha256Hex } from './fields.ts'

/** Who may use the admin API: certificates of hours, and tokens of days. */

/** Bound of an administrator's certificate: anyone with this one file is an administrator. */
export const ADMIN_CERTIFICATE_SECONDS_MAX = 24 * 3600
/** Bound of the life of a token: a year and a day, for renewals once a year. */
export const ADMIN_TOKEN_SECONDS_MAX = 366 * 24 * 3600

const role = z.enum(ROLES)
/** A name that is no id of a join token, so that `shoal admin token withdraw` can tell them apart. */
const tokenName = z
  .string()
  .regex(/^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$/, 'lower-case letters, digits, dots, hyphens, underscores')
  .refine((name) => !/^[0-9a-f]{16}$/.test(name), 'a name like the id of a join token')
const tokenLine = z.object({ name: z.string(), role, createdAtMs: atMs, endsAtMs: atMs })

export const ADMINISTRATOR_CALLS = {
  'self.show': call({
    method: 'GET',
    path: '/admin/v1/self',
    right: 'reader',
    summary: 'Says who is asking, and until when that counts.',
    answer: z.object({
      name: z.string().describe('As in the audit log.'),
      role,
      endsAtMs: atMs.nullable().describe('Null: on the socket.'),
    }),
    commands: ['shoal admin whoami'],
    example: { input: {} },
  }),
  'adminTokens.list': call({
    method: 'GET',
    path: '/admin/v1/tokens',
    right: 'admin',
    summary: 'Lists the tokens of administrators, by name. Nothing of a token itself is in it.',
    answer: z.object({ tokens: z.array(tokenLine) }),
    commands: ['shoal admin token ls --admins'],
    example: { input: {} },
  }),
  'adminTokens.create': call({
    method: 'POST',
    path: '/admin/v1/tokens',
    right: 'local',
    summary: "Adds an administrator's token. The caller makes it, and sends its hash.",
    body: z.strictObject({
      name: tokenName,
      role,
      hash: sha256Hex.describe('SHA-256 of the whole token.'),
      validForSeconds: z.int().min(60).max(ADMIN_TOKEN_SECONDS_MAX),
    }),
    answer: z.object({ token: tokenLine }),
    status: 201,
    commands: ['shoal admin token create NAME'],
    example: {
      input: {
        ...{ name: 'dashboard', role: 'reader', validForSeconds: 2_592_000 },
        hash: 'a591a6d40bf420404a011733cfb7b190d62c65bf0bcda32b57b277d9ad9f146e',
      },
    },
  }),
  'adminTokens.withdraw': call({
    method: 'DELETE',
    path: '/admin/v1/tokens/:name',
    right: 'admin',
    summary: "Ends an administrator's token at once.",
    params: z.strictObject({ name: tokenName }),
    answer: z.object({}),
    commands: ['shoal admin token withdraw'],
    example: { input: { name: 'dashboard' } },
  }),
  'certificates.create': call({
    method: 'POST',
    path: '/admin/v1/certificates',
    right: 'local',
    summary: "Certifies an administrator's key for some hours, with the role admin.",
    body: z.strictObject({
      publicKey: z
        .string()
        .max(200)
        .describe('SubjectPublicKeyInfo (DER, base64url) of an ECDSA P-256 key that the caller keeps.'),
      validForSeconds: z.int().min(60).max(ADMIN_CERTIFICATE_SECONDS_MAX),
    }),
    answer: z.object({
      certificate: z.string(),
      authorities: z.array(z.string()).describe('By these its owner recognises the listener.'),
    }),
    status: 201,
    commands: ['shoal admin certificate'],
    example: {
      input: {
        publicKey:
          'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li_hp_m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q',
        validForSeconds: 3600,
      },
    },
  }),
  'adminAuthority.rotate': call({
    method: 'POST',
    path: '/admin/v1/admin-authorities',
    right: 'admin',
    summary: "Begins to change the authority of administrators' certificates.",
    body: z.strictObject({ isLeaked }),
    answer: z.object({ previousEndsAtMs: atMs.nullable().describe('Null: it is gone.') }),
    status: 201,
    commands: ['shoal admin key rotate admin'],
    example: { input: {} },
  }),
  'adminAuthority.withdraw': call({
    method: 'POST',
    path: '/admin/v1/admin-authorities/withdrawal',
    right: 'admin',
    summary: "Ends the change of the authority of administrators' certificates.",
    answer: z.object({}),
    commands: ['shoal admin key rotate admin --withdraw'],
    example: { input: {} },
  }),
}
