import { afterEach, expect } from 'vitest'
import { type HostileUploader, startHostileUploader } from '../pull/hostile-uploader.ts'
import { startTestCluster, type TestBlob, type TestCluster } from '../pull/test-cluster.ts'
import { enrol, type Member } from './attacker.ts'
import { refusalOf } from './liar.ts'

/** A cluster of one honest node, with members who take leases and publish what they like. */
export interface Scene {
  cluster: TestCluster
  /** Every log line of the node and of the tracker. */
  logged: Record<string, unknown>[]
  /** Closed with the test. */
  newMember(): Promise<Member>
  /** Serves the first piece of the lie. */
  serve(lie: TestBlob): Promise<HostileUploader>
  start(options?: { leaseSeconds?: number; configuresKeys?: boolean }): Promise<void>
}

/** One cluster per test; call `start` first. */
export function useScene(): Scene {
  const open: { close(): Promise<void> }[] = []
  const scene: Scene = {
    cluster: undefined as never,
    logged: [],
    async start(options = {}) {
      scene.logged = []
      const logTo = { write: (line: string) => void scene.logged.push(JSON.parse(line)) }
      scene.cluster = await startTestCluster({ nodes: 1, logLevel: 'debug', logTo, ...options })
    },
    async newMember() {
      const member = await enrol(scene.cluster)
      open.push(member.tracker)
      return member
    },
    async serve(lie) {
      const uploader = await startHostileUploader(scene.cluster, lie, 'first-piece')
      open.push(uploader)
      return uploader
    },
  }
  afterEach(async () => {
    for (const it of open.splice(0)) await it.close()
    await scene.cluster?.close()
  })
  return scene
}

/** The verdict: the member is refused pulls from now on, and the tracker's log names it with its code. */
export async function expectConvicted({ cluster, logged }: Scene, member: Member, blob: TestBlob) {
  // The tracker asks the registry first.
  const refusal = () => refusalOf(member, cluster, blob)
  await expect.poll(refusal, { timeout: 10_000, interval: 250 }).toBe('NODE_REVOKED')
  const verdicts = logged.filter(({ code }) => code === 'HASH_LIE').map(({ liar }) => liar)
  expect(verdicts).toEqual([member.node])
}
