import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'undici'
import { ADMIN_SOCKET } from '../../core/tracker-sockets.ts'
import { pullClaims } from '../core/signed-tokens.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import { randomBlob } from '../pull/test-cluster.ts'
import type { TestDatabase } from './test-database.ts'
import { newClusterSecrets, TestNode, type World } from './test-tracker.ts'
import { type Fleet, type FleetTracker, startFleet } from './tracker-fleet.ts'

/** Clients write down what trackers acknowledged while these are killed at random moments, and compare with the database. */

/** From its first answer on a tracker lives for up to this long. */
const LIFE_MS_MAX = 700
const NODE_ID_DIGITS = 40

/** What was acknowledged, by id. */
export interface Acknowledged {
  clusters: string[]
  /** Clusters that got a second authority. */
  authorities: string[]
  /** Clusters that got a second signing key. */
  signingKeys: string[]
  revocations: number[]
  nodes: string[]
  pulls: string[]
}

export interface KillResult {
  kills: number
  acknowledged: Acknowledged
  /** Empty if everything that was acknowledged is in the database, and in the audit log. */
  lost: string[]
  seconds: number
}

export async function killTrackers(database: TestDatabase, kills: number): Promise<KillResult> {
  const fleet = await startFleet(database, { trackers: 3, nodes: 0 })
  const beganMs = performance.now()
  const acknowledged: Acknowledged = {
    ...{ clusters: [], authorities: [], signingKeys: [], revocations: [], nodes: [], pulls: [] },
  }
  let isOver = false
  const blob = fleet.cluster.registry.add(randomBlob(300_000).bytes)
  const clients = fleet.trackers.map(async (tracker) => {
    while (!isOver)
      await actAt(fleet, tracker, { ...blob, acknowledged }).catch(async () => {
        // It was killed meanwhile: whatever was asked was not acknowledged, and may or may not be there.
        await delay(20)
      })
  })
  try {
    for (let count = 0; count < kills; count += 1) {
      const tracker = fleet.trackers[count % fleet.trackers.length]!
      await delay(Math.random() * LIFE_MS_MAX)
      tracker.part.kill('SIGKILL')
      await tracker.part.ended
      await tracker.start()
    }
    isOver = true
    await Promise.all(clients)
    const lost = [...(await lostRows(database, acknowledged)), ...(await lostAtTrackers(fleet, acknowledged))]
    return { kills, acknowledged, lost, seconds: Math.round((performance.now() - beganMs) / 1000) }
  } finally {
    isOver = true
    await fleet.close()
  }
}

/** Some changes at one tracker, one after the other, each noted once it is acknowledged. */
async function actAt(
  { cluster }: Fleet,
  tracker: FleetTracker,
  { acknowledged, ...blob }: { acknowledged: Acknowledged; digest: string; bytes: Buffer },
): Promise<void> {
  const made = newClusterSecrets()
  const { cluster: id, joinTokenHash } = made
  await ask(tracker, '/admin/v1/clusters', { cluster: id, name: id, joinTokenHash })
  acknowledged.clusters.push(id)
  await ask(tracker, `/admin/v1/clusters/${id}/authorities`, {})
  acknowledged.authorities.push(id)
  await ask(tracker, `/admin/v1/clusters/${id}/signing-keys`, {})
  acknowledged.signingKeys.push(id)
  const revoked = { cluster: id, node: newClusterSecrets().joinTokenHash.slice(0, NODE_ID_DIGITS) }
  const { revocation } = (await ask(tracker, '/admin/v1/revocations', revoked)) as { revocation: number }
  acknowledged.revocations.push(revocation)
  const { trackerCaPem: caPem } = cluster.nodeOptions('x') as { trackerCaPem: string }
  const { signer, registry } = cluster
  const token = () => signer.sign(pullClaims(REPOSITORY), { jwk: signer.publicJwk })
  const address = { host: '127.0.0.1', port: tracker.port }
  const node = new TestNode({ tracker: { address }, caPem, registry, token } as unknown as World)
  try {
    const joined = await node.join(made.joinToken)
    if (joined.status !== 200) return
    acknowledged.nodes.push(node.node)
    for (let count = 0; count < 4; count += 1) {
      const wanted = { digest: blob.digest, bytes: blob.bytes.length, isWanted: true }
      const { status, body } = await node.pull({ blobs: [wanted] })
      if (status === 200) acknowledged.pulls.push(body.pull)
    }
  } finally {
    await node.close()
  }
}

async function ask({ dataDir }: FleetTracker, path: string, body?: object): Promise<unknown> {
  const client = new Client('http://localhost', { socketPath: join(dataDir, ADMIN_SOCKET) })
  try {
    const headers = { 'content-type': 'application/json' }
    const how =
      body === undefined
        ? { method: 'GET' as const }
        : { method: 'POST' as const, headers, body: JSON.stringify(body) }
    const answer = await client.request({ path, ...how })
    const answered = await answer.body.json()
    if (answer.statusCode >= 300) throw new Error(`${path}: ${JSON.stringify(answered)}`)
    return answered
  } finally {
    await client.destroy()
  }
}

async function lostRows({ server }: TestDatabase, it: Acknowledged): Promise<string[]> {
  const rows = async (query: string) => new Set((await server.sql(query)).split('\n'))
  const several = (table: string) =>
    rows(`SELECT cluster FROM shoal.${table} GROUP BY cluster HAVING count(*) > 1`)
  const found = {
    clusters: await rows('SELECT id FROM shoal.clusters'),
    authorities: await several('authorities'),
    signingKeys: await several('batch_keys'),
    revocations: await rows('SELECT sequence FROM shoal.revocations'),
    nodes: await rows('SELECT node FROM shoal.nodes'),
    pulls: await rows('SELECT id FROM shoal.pulls'),
  }
  const audited = {
    clusters: await rows("SELECT target FROM shoal.audit WHERE action = 'cluster created'"),
    pulls: await rows("SELECT target FROM shoal.audit WHERE action = 'pull granted'"),
  }
  const entries = async (kind: string) =>
    Number(await server.sql(`SELECT count(*) FROM shoal.audit WHERE ${kind}`))
  const fewer = [
    ['authorities', "action = 'authority added'"],
    ['signingKeys', "action = 'signing key added'"],
    ['revocations', "action LIKE '%revoked%'"],
    ['nodes', "action = 'node joined'"],
  ] as const
  const lost: string[] = []
  for (const [kind, ids] of Object.entries(it) as [keyof Acknowledged, (string | number)[]][])
    for (const id of ids) if (!found[kind].has(`${id}`)) lost.push(`${kind} ${id}`)
  for (const kind of ['clusters', 'pulls'] as const)
    for (const id of it[kind]) if (!audited[kind].has(id)) lost.push(`audit of ${kind} ${id}`)
  for (const [kind, where] of fewer)
    if ((await entries(where)) < it[kind].length) lost.push(`audit entries of ${kind}`)
  return lost
}

/** Every tracker knows all clusters again. */
async function lostAtTrackers({ trackers }: Fleet, { clusters }: Acknowledged): Promise<string[]> {
  const lost: string[] = []
  for (const tracker of trackers) {
    const answer = (await ask(tracker, '/admin/v1/clusters')) as { clusters: { cluster: string }[] }
    const known = new Set(answer.clusters.map(({ cluster }) => cluster))
    for (const id of clusters) if (!known.has(id)) lost.push(`${id} at a tracker`)
  }
  return lost
}
