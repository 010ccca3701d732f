import { checkedP256Spki } from '../../authority/leaf-certificate.ts'
import type { AdminParts, Handlers } from '../handler.ts'

export function administratorHandlers({ admins, adminTokens, listenerAuthority }: AdminParts) {
  return {
    'self.show': (_, { caller }) => caller,
    'adminTokens.list': (_, { nowMs }) => ({ tokens: adminTokens.list(nowMs) }),
    'adminTokens.create': async (asked, by) => ({ token: await adminTokens.add(asked, by) }),
    'adminTokens.withdraw': async ({ name }, by) => {
      await adminTokens.withdraw(name, by)
      return {}
    },
    'certificates.create': async ({ publicKey, validForSeconds }, by) => {
      const spki = checkedP256Spki(Buffer.from(publicKey, 'base64url'))
      const { certificate, authorities } = await admins.issue(spki, validForSeconds, by)
      return {
        certificate,
        authorities: [...authorities, ...[listenerAuthority()].flatMap((it) => it ?? [])],
      }
    },
    'adminAuthority.rotate': async (how, by) => {
      const rotation = await admins.rotate(how, by)
      return { previousEndsAtMs: rotation?.previousEndsAtMs ?? null }
    },
    'adminAuthority.withdraw': async (_, by) => {
      await admins.withdraw(by)
      return {}
    },
  } satisfies Partial<Handlers>
}
