import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HOLDERS_NEWS_MAX, HOLDERS_TOLD_MAX } from '../../core/holders-api.ts'
import type { ClusterId, NodeId, SwarmId } from '../../core/metainfo.ts'
import { HOLDERS_TOLD_AGAIN_MS } from '../../tracker/swarm/holder-news.ts'
import { PeerTable } from '../../tracker/swarm/peer-table.ts'
import { PeerTables } from '../../tracker/swarm/peer-tables.ts'

const TTL_MS = 100
const nodeAt = (index: number) => String(index).padStart(40, '0') as NodeId
const swarmAt = (index: number) => String(index).padStart(40, 'f') as SwarmId

describe('the peer table', () => {
  /** What it must say, written as plainly as can be. */
  class Model {
    readonly held = new Map<string, { isSeed: boolean }>()
    readonly seenAtMs = new Map<number, number>()

    heartbeat(
      node: number,
      full: boolean,
      holds: { swarm: number; isSeed: boolean }[],
      dropped: number[],
      nowMs: number,
    ) {
      this.expire(nowMs)
      const own = [...this.held.keys()].filter((id) => id.startsWith(`${node} `))
      if (full) for (const id of own) this.held.delete(id)
      for (const swarm of dropped) this.held.delete(`${node} ${swarm}`)
      for (const { swarm, isSeed } of holds) this.held.set(`${node} ${swarm}`, { isSeed })
      this.seenAtMs.set(node, nowMs)
    }

    expire(nowMs: number) {
      for (const [node, atMs] of this.seenAtMs) {
        if (atMs + TTL_MS > nowMs) continue
        this.seenAtMs.delete(node)
        for (const id of [...this.held.keys()]) if (id.startsWith(`${node} `)) this.held.delete(id)
      }
    }

    count(swarm: number) {
      const holders = [...this.held].filter(([id]) => id.endsWith(` ${swarm}`))
      const seeds = holders.filter(([, { isSeed }]) => isSeed).length
      return { seeds, leechers: holders.length - seeds }
    }
  }

  it('agrees with a plain model after any sequence of heartbeats', () => {
    const swarm = fc.nat(4)
    const step = fc.record({
      node: fc.nat(4),
      full: fc.boolean(),
      holds: fc.uniqueArray(fc.record({ swarm, isSeed: fc.boolean() }), {
        maxLength: 4,
        selector: (it) => it.swarm,
      }),
      dropped: fc.array(swarm, { maxLength: 2 }),
      waitMs: fc.nat(60),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const [table, model] = [new PeerTable(TTL_MS), new Model()]
        let nowMs = 0
        for (const { node, full, holds, dropped, waitMs } of steps) {
          nowMs += waitMs
          const contact = { node: nodeAt(node), address: '10.0.0.1', port: 1 }
          const inventory = {
            isFullInventory: full,
            holds: holds.map((it) => ({ swarm: swarmAt(it.swarm), isSeed: it.isSeed })),
            dropped: dropped.map(swarmAt),
          }
          table.heartbeat(contact, inventory, nowMs)
          model.heartbeat(node, full, holds, dropped, nowMs)
          for (let at = 0; at <= 4; at += 1) expect(table.count(swarmAt(at), nowMs)).toEqual(model.count(at))
        }
      }),
    )
  })

  it('lists a node at its newest address', () => {
    const table = new PeerTable(TTL_MS)
    const inventory = { isFullInventory: true, holds: [{ swarm: swarmAt(1), isSeed: true }], dropped: [] }
    table.heartbeat({ node: nodeAt(1), address: '10.0.0.1', port: 1 }, inventory, 0)
    table.heartbeat(
      { node: nodeAt(1), address: '10.0.0.2', port: 2 },
      { ...inventory, isFullInventory: false },
      1,
    )
    const peers = table.choose(swarmAt(1), { asker: nodeAt(2), random: () => 0.5, nowMs: 2 })
    expect(peers).toEqual([{ node: nodeAt(1), address: '10.0.0.2', port: 2, isSeed: true }])
  })

  it('is after a restart what it was, for as long as a node may be silent, and asks for everything', () => {
    const [before, after] = [new PeerTables(TTL_MS), new PeerTables(TTL_MS)]
    const cluster = `c${'1'.repeat(16)}` as ClusterId
    const beat = (tables: PeerTables, node: number, holds: { swarm: SwarmId; isSeed: boolean }[]) =>
      tables
        .of(cluster)
        .heartbeat(
          { node: nodeAt(node), address: '10.0.0.1', port: node },
          { isFullInventory: false, holds, dropped: [] },
          0,
        )
    beat(before, 1, [{ swarm: swarmAt(1), isSeed: true }])
    beat(before, 2, [{ swarm: swarmAt(1), isSeed: false }])
    beat(before, 3, [{ swarm: swarmAt(1), isSeed: true }])
    const first = before.takeUnsaved(2)
    before.of(cluster).forget(nodeAt(3))
    const second = before.takeUnsaved(9)
    expect([first.presences.length, second]).toEqual([
      2,
      { presences: [], gone: [{ cluster, node: nodeAt(3) }] },
    ])
    expect(before.takeUnsaved(9)).toEqual({ presences: [], gone: [] })
    for (const presence of first.presences) after.restore(presence, 50)
    expect(after.takeUnsaved(9)).toEqual({ presences: [], gone: [] })
    expect(after.of(cluster).count(swarmAt(1), 149)).toEqual({ seeds: 1, leechers: 1 })
    expect(beat(after, 1, [])).toEqual({ wantsFullInventory: true })
    expect(after.of(cluster).count(swarmAt(1), 150)).toEqual({ seeds: 0, leechers: 0 })
    expect(after.takeUnsaved(9).gone).toHaveLength(2)
  })
})

describe('what a node is told of other holders', () => {
  const told = (table: PeerTable, node: NodeId, nowMs: number) =>
    table.takeHolders(node, nowMs).map(({ swarm, others }) => ({ swarm, others }))
  const holding = (table: PeerTable, node: number, swarms: number[], { isSeed = true, nowMs = 0 } = {}) =>
    table.heartbeat(
      { node: nodeAt(node), address: '10.0.0.1', port: 1 },
      {
        isFullInventory: true,
        holds: swarms.map((swarm) => ({ swarm: swarmAt(swarm), isSeed })),
        dropped: [],
      },
      nowMs,
    )

  it('counts other nodes with the whole blob, and comes again only when it has changed', () => {
    const table = new PeerTable(1e9)
    holding(table, 1, [1, 2])
    expect(told(table, nodeAt(1), 0)).toEqual([
      { swarm: swarmAt(1), others: 0 },
      { swarm: swarmAt(2), others: 0 },
    ])
    expect(told(table, nodeAt(1), 1)).toEqual([])
    holding(table, 2, [2])
    holding(table, 3, [2], { isSeed: false })
    expect(told(table, nodeAt(1), 2)).toEqual([{ swarm: swarmAt(2), others: 1 }])
    expect(told(table, nodeAt(3), 2)).toEqual([{ swarm: swarmAt(2), others: 2 }])
    table.forget(nodeAt(2))
    expect(told(table, nodeAt(1), 3)).toEqual([{ swarm: swarmAt(2), others: 0 }])
  })

  it('is no news above a bound, for a blob that many hold', () => {
    const table = new PeerTable(1e9)
    for (let node = 0; node <= HOLDERS_TOLD_MAX; node++) holding(table, node, [1])
    expect(told(table, nodeAt(0), 0)).toEqual([{ swarm: swarmAt(1), others: HOLDERS_TOLD_MAX }])
    holding(table, 99, [1])
    expect(told(table, nodeAt(0), 1)).toEqual([])
  })

  it('is bounded in each answer, and complete after some', () => {
    const table = new PeerTable(1e9)
    const all = Array.from({ length: HOLDERS_NEWS_MAX + 10 }, (_, swarm) => swarm)
    holding(table, 1, all)
    expect([1, 2, 3].map((at) => told(table, nodeAt(1), at).length)).toEqual([HOLDERS_NEWS_MAX, 10, 0])
  })

  it('is told again to a node that reports everything anew, and after a while, as an answer may be lost', () => {
    const table = new PeerTable(1e9)
    holding(table, 1, [1])
    told(table, nodeAt(1), 0)
    holding(table, 1, [1], { nowMs: 10 })
    expect(told(table, nodeAt(1), 10)).toHaveLength(1)
    expect(told(table, nodeAt(1), HOLDERS_TOLD_AGAIN_MS)).toEqual([])
    expect(told(table, nodeAt(1), HOLDERS_TOLD_AGAIN_MS + 20)).toHaveLength(1)
  })
})
