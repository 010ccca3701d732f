import { createHash, randomBytes } from 'node:crypto'
import type { Role } from '../../core/admin-api/call.ts'
import { ROLES } from '../../core/admin-api/call.ts'
import { type CallName, callOf, pathOf, split } from '../../core/admin-api/calls.ts'
import { EXAMPLE_CLUSTER } from '../../core/admin-api/fields.ts'
import type { ClusterId } from '../../core/metainfo.ts'
import { type Answer, newJoinToken, sha256, startWorld, type TestCaller, type World } from './test-tracker.ts'

/** A tracker with a token of each role. */
export interface AdminWorld extends World {
  tokens: Record<Role, string>
  exampleJoinToken: string
  /** On the socket. */
  socket(name: CallName, input: object): Promise<Answer>
  ask(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
  /** Over TLS, with a token of the role or without any. */
  remote(way: Role | 'stranger', name: CallName, input: object): Promise<Answer>
  /** Over TLS, with this token. */
  withToken(token: string, name: CallName, input?: object): Promise<Answer>
  /** @returns the token */
  newToken(name: string, role: Role, validForSeconds?: number): Promise<string>
  makeExampleCluster(): Promise<void>
}

export async function startAdminWorld(): Promise<AdminWorld> {
  const world = await startWorld()
  const local = world.admin()
  const { ca } = await world.adminIdentity()
  const overTls = world.remoteAdmin({ ca })
  const asked = (caller: TestCaller, name: CallName, input: object, headers = {}) => {
    const one = callOf(name)
    const { body } = split(one, input as Record<string, unknown>)
    const takesBody = Object.keys(one.body.shape).length > 0
    const path = pathOf(one, input as Record<string, unknown>)
    if (one.isStream) return caller.stream(path, headers)
    return caller.request(one.method, path, takesBody ? body : undefined, headers)
  }
  const socket = (name: CallName, input: object) => asked(local, name, input)
  const withToken = (token: string, name: CallName, input = {}) =>
    asked(overTls, name, input, { authorization: `Bearer ${token}` })
  const newToken = async (name: string, role: Role, validForSeconds = 3600) => {
    const token = `SHOALADMIN-1-${randomBytes(32).toString('base64url')}`
    const hash = createHash('sha256').update(token).digest('hex')
    const { status } = await socket('adminTokens.create', { name, role, hash, validForSeconds })
    if (status !== 201) throw new Error(`no token: ${status}`)
    return token
  }
  const tokens = {} as Record<Role, string>
  for (const role of ROLES) tokens[role] = await newToken(`the-${role}`, role, 86_400)
  const { restart } = world
  const exampleJoinToken = newJoinToken(EXAMPLE_CLUSTER as ClusterId)
  return Object.assign(world, {
    tokens,
    exampleJoinToken,
    socket,
    ask: local.request.bind(local),
    remote: (way: Role | 'stranger', name: CallName, input: object) =>
      way === 'stranger' ? asked(overTls, name, input) : withToken(tokens[way], name, input),
    withToken,
    newToken,
    restart: async (changes: Parameters<World['restart']>[0]) => {
      await restart(changes)
      // Its ports are others.
      for (const caller of [local, overTls]) await caller.close()
    },
    makeExampleCluster: () =>
      world.tracker.createCluster({
        cluster: EXAMPLE_CLUSTER as ClusterId,
        name: 'example',
        joinTokenHash: sha256(exampleJoinToken),
      }),
  })
}
