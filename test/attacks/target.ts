import { afterAll, beforeAll, expect, test } from 'vitest'
import type { SwarmId } from '../../core/metainfo.ts'
import {
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
  type TestNode,
} from '../pull/test-cluster.ts'
import { type AttackLine, enrol, type Member, swarmOf } from './attacker.ts'
import { loot } from './loot.ts'

/** What an attack is aimed at: a node that holds a private blob, and someone who has joined its cluster. */
export interface Target {
  cluster: TestCluster
  holder: TestNode
  blob: TestBlob
  swarm: SwarmId
  member: Member
  /** Every log line of every node and of the tracker, from level debug on. */
  logged: Record<string, unknown>[]
  /** Log lines with this code, from now on. */
  codesSince(mark: number): string[]
}

export const BLOB_BYTES = 3 * 256 * 1024 + 17

/**
 * Starts the target before a file's tests. After them, an honest node must still get the whole blob from the holder,
 * and no attacker of the file may have been sent a byte of it.
 */
export function useTarget(
  options: {
    algorithm?: string
    bytes?: number
    /** The registry wants this opaque token, and is of kind `introspect`. */
    opaqueToken?: string
  } = {},
): Target {
  const target = { logged: [] } as unknown as Target
  target.codesSince = (mark) =>
    target.logged.slice(mark).flatMap(({ code }) => (typeof code === 'string' ? [code] : []))
  beforeAll(async () => {
    const logTo = { write: (line: string) => void target.logged.push(JSON.parse(line)) }
    const { algorithm, opaqueToken } = options
    target.cluster = await startTestCluster({
      nodes: 1,
      logLevel: 'debug',
      logTo,
      ...(algorithm === undefined ? {} : { algorithm }),
      ...(opaqueToken === undefined ? {} : { kind: 'introspect' }),
    })
    if (opaqueToken !== undefined) wantOpaqueToken(target.cluster, opaqueToken)
    target.holder = target.cluster.nodes[0]!
    target.blob = target.cluster.registry.add(randomBlob(options.bytes ?? BLOB_BYTES).bytes)
    await pull(target.holder, target.cluster.request(target.blob))
    target.member = await enrol(target.cluster)
    target.swarm = swarmOf(target.member, target.cluster, target.blob)
  })
  afterAll(async () => {
    await target.member?.tracker.close()
    await target.cluster?.close()
  })
  return target
}

function wantOpaqueToken(cluster: TestCluster, token: string): void {
  cluster.registry.accepted.add(`Bearer ${token}`)
  const request = cluster.request
  cluster.request = (blob, changes) => request(blob, { credential: { scheme: 'bearer', token }, ...changes })
}

/** The last test of every file. */
export function expectUnharmed(target: Target): void {
  test('after all this an honest node is served, and no attacker had a byte of the blob', async () => {
    await expectServesHonestly(target)
    expect(loot.bytes).toBe(0)
  })
}

let honestNodes = 0

export async function expectServesHonestly({ cluster, blob }: Target): Promise<void> {
  const before = cluster.registry.sentBytes.get(blob.digest)
  const honest = await cluster.addNode({ name: `honest${++honestNodes}` })
  expect((await pull(honest, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(progressOf(honest, blob).bytesFromPeers).toBe(blob.bytes.length)
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(before)
  await honest.stop()
}

/** Nothing but handshakes reached the attacker. */
export function expectNothingGiven(line: AttackLine): void {
  expect(line.blockBytes).toBe(0)
  expect(line.messages.filter(({ type }) => type !== 'extended')).toEqual([])
  expect(line.receivedBytes).toBeLessThan(512)
}

/** Waits for a log line: refusals are logged after the socket is gone. */
export async function expectLogged(target: Target, mark: number, code: string): Promise<void> {
  await expect.poll(() => target.codesSince(mark), { timeout: 2000 }).toContain(code)
}
