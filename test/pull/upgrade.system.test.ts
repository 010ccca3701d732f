import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Digest } from '../../core/digest.ts'
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
/** Trackers are upgraded first: the first row is what is promised. The second is a tracker that was put back. */
const TRACKERS = ['this version', 'the release before'] as const

describe.skipIf(isSkipped).each(TRACKERS)('a tracker of %s, with nodes of both versions', (version) => {
  let folder: string
  let processes: LabProcesses
  let cluster: LoopbackCluster
  let older: string
  let nodes: { older: LoopbackNode; newer: LoopbackNode }

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'shoal-upgrade-'))
    mkdirSync(join(folder, 'log'))
    older = unpackRelease(commit!, join(folder, 'older'))
    processes = new LabProcesses(join(folder, 'log'))
    const trackerProgram = version === 'this version' ? OWN_PROGRAM : older
    cluster = await startLoopbackCluster({ dir: folder, processes, program: OWN_PROGRAM, trackerProgram })
    nodes = {
      older: await cluster.startNode('node1', { program: older }),
      newer: await cluster.startNode('node2'),
    }
    // The first says when it runs, and nothing of when it has joined.
    await delay(JOINED_MS)
  })
  afterAll(async () => {
    await processes?.close()
    await cluster?.registry.close()
    rmSync(folder, { recursive: true, force: true })
  })

  const get = async (node: LoopbackNode, blob: Digest) =>
    expect(await pull({ cluster, processes }, node, blob)).toBe(blob)
  const add = () => cluster.registry.addBlob(BLOB_BYTES)

  for (const [holder, downloader] of [
    ['older', 'newer'],
    ['newer', 'older'],
  ] as const)
    test(`the ${downloader} node gets a blob from the ${holder} one`, async () => {
      const blob = await add()
      await get(nodes[holder], blob)
      await get(nodes[downloader], blob)
      expect(cluster.registry.sentBytes(blob)).toBeLessThan(1.2 * BLOB_BYTES)
      const found = (await nodes[downloader].progress()).find(({ digest }) => digest === blob)
      expect(found?.bytesFromPeers).toBeGreaterThan(0.8 * BLOB_BYTES)
    })

  test('both together get a cold blob, of which about one copy leaves the registry', async () => {
    const blob = await add()
    await Promise.all([get(nodes.older, blob), get(nodes.newer, blob)])
    expect(cluster.registry.sentBytes(blob)).toBeLessThan(1.3 * BLOB_BYTES)
  })

  if (version !== 'this version') return

  const identityOf = ({ dataDir }: LoopbackNode) => readFileSync(join(dataDir, 'node-key.pem'), 'utf8')
  /** Ends the node, and starts this program on its data. */
  async function replace(name: keyof typeof nodes, program?: string): Promise<void> {
    const before = nodes[name]
    const identity = identityOf(before)
    await before.part.stop()
    nodes[name] = await cluster.startNode(before.name, program === undefined ? {} : { program })
    if (program !== undefined) await delay(JOINED_MS)
    expect(identityOf(nodes[name])).toBe(identity)
  }

  test('a node is put back to the release before and upgraded again: it stays the same node, and shares', async () => {
    await replace('newer', older)
    const one = await add()
    await get(nodes.older, one)
    await get(nodes.newer, one)
    expect(cluster.registry.sentBytes(one)).toBeLessThan(1.2 * BLOB_BYTES)
    await replace('newer')
    const other = await add()
    await get(nodes.newer, other)
    await get(nodes.older, other)
    expect(cluster.registry.sentBytes(other)).toBeLessThan(1.2 * BLOB_BYTES)
  })

  test('a node whose cache, memory and records a later version wrote drops these, says so, and shares', async () => {
    const { dataDir, part } = nodes.newer
    const identity = identityOf(nodes.newer)
    await part.stop()
    const later = (path: string) =>
      writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), version: 99 }))
    const blobs = readdirSync(join(dataDir, 'blobs'))
    expect(blobs.length).toBeGreaterThan(0)
    for (const name of blobs) later(join(dataDir, 'blobs', name, 'state.json'))
    for (const name of ['node-memory.json', 'pulls.json']) later(join(dataDir, name))
    nodes.newer = await cluster.startNode(nodes.newer.name)
    const log = readFileSync(nodes.newer.part.errorLogFile, 'utf8')
    expect(log).toContain(`"blobs":${blobs.length}`)
    for (const words of [
      'dropped the blobs that a newer Shoal stored',
      'a newer Shoal wrote what',
      'wrote it',
    ])
      expect(log).toContain(words)
    expect(readdirSync(join(dataDir, 'blobs'))).toEqual([])
    expect(identityOf(nodes.newer)).toBe(identity)
    const blob = await add()
    await get(nodes.older, blob)
    await get(nodes.newer, blob)
    expect(cluster.registry.sentBytes(blob)).toBeLessThan(1.2 * BLOB_BYTES)
  })

  test('a tracker of the release before refuses the database of this one, and changes nothing', async () => {
    await cluster.tracker.stop()
    const path = join(cluster.trackerDataDir, 'tracker.sqlite')
    const before = readFileSync(path)
    const config = join(cluster.trackerDataDir, '..', 'config.json')
    const argv = [process.execPath, older, 'tracker', '--config-file', config]
    await expect(processes.run({ argv, timeoutMs: 30_000 })).rejects.toThrow(/newer version of Shoal/)
    expect(readFileSync(path).equals(before)).toBe(true)
  })
})
