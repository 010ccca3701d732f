import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type LoopbackCluster,
  type LoopbackNode,
  OWN_PROGRAM,
  startLoopbackCluster,
} from '../../lab/loopback/cluster.ts'
import { pull } from '../../lab/loopback/rounds.ts'
import { LabProcesses } from '../../lab/machine/processes.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { isSkippedFor } from '../../lab/machine/skipped.ts'
import { previousReleaseCommit, unpackRelease } from './previous-release.ts'

const BLOB_BYTES = 24 * 2 ** 20
const JOINED_MS = 3_000
const commit = previousReleaseCommit()
const NO_HISTORY = { kind: 'git’s history', lacks: [], remedy: 'git fetch --unshallow' }
const isSkipped =
  mustSkipFor(['linux', 'setpriv', 'curl', 'docker-registry']) ||
  (commit === undefined && isSkippedFor([NO_HISTORY]))

/** Trackers are upgraded first: this version's tracker, with nodes of this version and of the release before. */
describe.skipIf(isSkipped)('a cluster in the middle of an upgrade', () => {
  let folder: string
  let processes: LabProcesses
  let cluster: LoopbackCluster
  let nodes: { older: LoopbackNode; newer: LoopbackNode }

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'shoal-upgrade-'))
    mkdirSync(join(folder, 'log'))
    const program = unpackRelease(commit!, join(folder, 'older'))
    processes = new LabProcesses(join(folder, 'log'))
    cluster = await startLoopbackCluster({ dir: folder, processes, program: OWN_PROGRAM })
    nodes = { older: await cluster.startNode('node1', { program }), newer: await cluster.startNode('node2') }
    // The first says when it runs, and nothing of when it has joined.
    await delay(JOINED_MS)
  })
  afterAll(async () => {
    await processes?.close()
    await cluster?.registry.close()
    rmSync(folder, { recursive: true, force: true })
  })

  const get = async (node: LoopbackNode, blob: Awaited<ReturnType<typeof cluster.registry.addBlob>>) =>
    expect(await pull({ cluster, processes }, node, blob)).toBe(blob)

  for (const [holder, downloader] of [
    ['older', 'newer'],
    ['newer', 'older'],
  ] as const)
    test(`the ${downloader} node gets a blob from the ${holder} one`, async () => {
      const blob = await cluster.registry.addBlob(BLOB_BYTES)
      await get(nodes[holder], blob)
      await get(nodes[downloader], blob)
      expect(cluster.registry.sentBytes(blob)).toBeLessThan(1.2 * BLOB_BYTES)
      const found = (await nodes[downloader].progress()).find(({ digest }) => digest === blob)
      expect(found?.bytesFromPeers).toBeGreaterThan(0.8 * BLOB_BYTES)
    })

  test('both together get a cold blob, of which about one copy leaves the registry', async () => {
    const blob = await cluster.registry.addBlob(BLOB_BYTES)
    await Promise.all([get(nodes.older, blob), get(nodes.newer, blob)])
    expect(cluster.registry.sentBytes(blob)).toBeLessThan(1.3 * BLOB_BYTES)
  })
})
