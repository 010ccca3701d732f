import { beforeEach, describe, expect, it } from 'vitest'
import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import type { RegistryHost } from '../../core/repository.ts'
import {
  CONVICTION_MS,
  CONVICTIONS_MAX,
  LEFT_NODES_MAX,
  Revocations,
} from '../../tracker/authority/revocations.ts'
import { SqliteStore } from '../../tracker/store/sqlite-store.ts'

const LAB = 'c0123456789abcdef' as ClusterId
const OTHER = 'cfedcba9876543210' as ClusterId
const HOST = 'registry.example' as RegistryHost
const TOKEN = 'ab'.repeat(32)

describe('a conviction', () => {
  let store: SqliteStore
  let revocations: Revocations

  beforeEach(async () => {
    store = new SqliteStore(':memory:')
    revocations = await Revocations.load(store)
  })

  const nodeOf = (number: number) => number.toString(16).padStart(40, '0') as NodeId
  const convict = (number: number, nowMs: number) =>
    revocations.revoke(
      LAB,
      { kind: 'node', node: nodeOf(number), conviction: { tokenHash: TOKEN } },
      { actor: 'tracker', nowMs },
    )
  const refusalOf = (cluster: ClusterId, subject: string, tokenHash: string | undefined) => {
    try {
      revocations.checkBearer(cluster, HOST, { subject, tokenHash })
      return undefined
    } catch (error) {
      return (error as { code: string }).code
    }
  }

  it('bars the node and the very token that it pulled with, and no other token of its account', async () => {
    await convict(1, 0)
    expect(revocations.isNodeRevoked(LAB, nodeOf(1))).toBe(true)
    expect(refusalOf(LAB, 'robot', TOKEN)).toBe('PULL_REVOKED')
    expect(refusalOf(LAB, 'robot', 'cd'.repeat(32))).toBeUndefined()
    expect(refusalOf(LAB, 'robot', undefined)).toBeUndefined()
    expect(refusalOf(OTHER, 'robot', TOKEN)).toBeUndefined()
    expect((await Revocations.load(store)).isNodeRevoked(LAB, nodeOf(1))).toBe(true)
  })

  it('ends after a day, and nodes are told; what an administrator revoked stays', async () => {
    await convict(1, 0)
    const by = { actor: 'admin 1', nowMs: 0 }
    const version = await revocations.revoke(LAB, { kind: 'node', node: nodeOf(2) }, by)
    await revocations.clearEnded(CONVICTION_MS - 1)
    expect(revocations.isNodeRevoked(LAB, nodeOf(1))).toBe(true)
    await revocations.clearEnded(CONVICTION_MS)
    expect(revocations.isNodeRevoked(LAB, nodeOf(1))).toBe(false)
    expect(refusalOf(LAB, 'robot', TOKEN)).toBeUndefined()
    expect(revocations.newsSince(LAB, version)).toMatchObject({
      isFullRevocations: true,
      revocations: [{ kind: 'node', node: nodeOf(2) }],
    })
  })

  it('is one of a bounded number, of which the oldest go first', async () => {
    for (let number = 0; number < CONVICTIONS_MAX + 3; number += 1) await convict(number, number)
    await revocations.clearEnded(CONVICTIONS_MAX + 3)
    expect(revocations.list()).toHaveLength(CONVICTIONS_MAX)
    expect(revocations.isNodeRevoked(LAB, nodeOf(2))).toBe(false)
    expect(revocations.isNodeRevoked(LAB, nodeOf(3))).toBe(true)
  })

  it('is not pushed out by nodes that leave: those have a bound of their own, and end after a day', async () => {
    await convict(1, 0)
    const leave = (number: number) =>
      revocations.revoke(
        LAB,
        { kind: 'node', node: nodeOf(number), isLeft: true },
        { actor: 'node', nowMs: 1 },
      )
    for (let number = 2; number < LEFT_NODES_MAX + 5; number += 1) await leave(number)
    await revocations.clearEnded(2)
    expect(revocations.list()).toHaveLength(LEFT_NODES_MAX + 1)
    expect([1, 2, 4, 5].map((number) => revocations.isNodeRevoked(LAB, nodeOf(number)))).toEqual([
      ...[true, false, false, true],
    ])
    await revocations.clearEnded(CONVICTION_MS + 1)
    expect(revocations.list()).toEqual([])
  })
})
