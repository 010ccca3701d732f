import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { seededRandom as seeded } from '../../bench/sim/simulate.ts'
import { HANDOUTS_PER_HEARTBEAT_MAX } from '../../tracker/handout/peers.ts'
import {
  choosePullPeers,
  PULL_NODES_MAX,
  PULL_NODES_SAMPLED_MAX,
  type PullPeersQuestion,
  SCARCE_HOLDERS_MAX,
} from '../../tracker/handout/pull-peers.ts'

interface Node {
  name: string
  has: Map<number, Holding>
}
interface Holding {
  node: Node
  isSeed: boolean
  handouts: number
}

function nodeHaving(name: string, blobs: readonly number[], isSeed = true): Node {
  const node: Node = { name, has: new Map() }
  for (const blob of blobs) node.has.set(blob, { node, isSeed, handouts: 0 })
  return node
}

const all = (count: number) => Array.from({ length: count }, (_, at) => at)
const many = (count: number, name: string, blobs: readonly number[], isSeed = true) =>
  all(count).map((at) => nodeHaving(`${name}${at}`, blobs, isSeed))

function ask(
  nodes: readonly Node[],
  blobCount: number,
  changes: Partial<PullPeersQuestion<Holding, Node>> = {},
): Holding[][] {
  const having = (blob: number, isSeed: boolean) =>
    nodes.flatMap(({ has }) => has.get(blob) ?? []).filter((holding) => holding.isSeed === isSeed)
  return choosePullPeers<Holding, Node>({
    blobs: all(blobCount).map((blob) => ({ seeds: having(blob, true), leechers: having(blob, false) })),
    nodesMax: PULL_NODES_MAX,
    nodeOf: ({ node }) => node,
    candidateOf: ({ has }, blob) => has.get(blob),
    isEligible: () => true,
    isLast: () => false,
    random: seeded(1),
    ...changes,
  })
}

const namesOf = (list: readonly Holding[]) => list.map(({ node }) => node.name)
const nodesOf = (lists: readonly (readonly Holding[])[]) => new Set(lists.flatMap(namesOf))

describe('choosing peers for a pull', () => {
  it('names few nodes in all, nobody twice for a blob, and nobody for what he lacks', () => {
    const nodes = fc.array(fc.tuple(fc.uniqueArray(fc.nat(9), { maxLength: 10 }), fc.boolean()), {
      maxLength: 80,
    })
    fc.assert(
      fc.property(nodes, fc.integer({ min: 1, max: 30 }), fc.integer(), (made, nodesMax, seed) => {
        const holders = made.map(([blobs, isSeed], at) => nodeHaving(`n${at}`, blobs, isSeed))
        const isEligible = ({ node }: Holding) => node.name !== 'n0'
        const lists = ask(holders, 10, { nodesMax, isEligible, random: seeded(seed) })
        expect(lists).toHaveLength(10)
        expect(nodesOf(lists).size).toBeLessThanOrEqual(nodesMax)
        for (const [blob, list] of lists.entries()) {
          expect(new Set(namesOf(list)).size).toBe(list.length)
          for (const holding of list) expect(holding).toBe(holding.node.has.get(blob))
        }
        expect(nodesOf(lists).has('n0')).toBe(false)
      }),
    )
  })

  it('covers every blob when a few nodes can', () => {
    const few = [
      nodeHaving('low', all(60).slice(0, 30)),
      nodeHaving('high', all(60).slice(30)),
      ...many(200, 'common', all(60).slice(0, 20)),
    ]
    const lists = ask(few, 60)
    expect(lists.filter((list) => list.length === 0)).toEqual([])
    expect(nodesOf(lists).size).toBe(PULL_NODES_MAX)
  })

  it('gives each of many blobs with holders of their own somebody, as far as the places go', () => {
    const lists = ask(
      all(60).map((blob) => nodeHaving(`n${blob}`, [blob])),
      60,
    )
    expect(lists.filter((list) => list.length === 1)).toHaveLength(PULL_NODES_MAX)
  })

  it('leaves the holders of scarce blobs to those who need them', () => {
    const scarce = many(SCARCE_HOLDERS_MAX, 'scarce', all(10))
    const lists = ask([...scarce, ...many(100, 'common', all(9))], 10)
    expect(nodesOf(lists.slice(9))).toEqual(new Set(scarce.map(({ name }) => name)))
    expect([...nodesOf(lists.slice(0, 9))].filter((name) => name.startsWith('scarce'))).toEqual([])
  })

  it('names the holders of scarce blobs for all where nobody else has them', () => {
    const lists = ask(many(SCARCE_HOLDERS_MAX, 'scarce', all(10)), 10)
    for (const list of lists) expect(list).toHaveLength(SCARCE_HOLDERS_MAX)
  })

  it('spreads a flash crowd: of many holders none is named far above the mean', () => {
    const holders = many(200, 'n', all(60))
    const random = seeded(2)
    for (let asker = 0; asker < 200; asker += 1) ask(holders, 60, { random })
    const handouts = holders.map(({ has }) => has.get(7)!.handouts)
    expect(handouts.reduce((sum, count) => sum + count, 0)).toBe(200 * PULL_NODES_MAX)
    expect(Math.max(...handouts)).toBeLessThan(2 * PULL_NODES_MAX)
    expect(Math.min(...handouts)).toBeGreaterThan(PULL_NODES_MAX / 3)
  })

  it('does not name the first seed of everything to everyone', () => {
    const first = nodeHaving('first', all(20))
    const nearly = many(100, 'n', all(20).slice(1), false)
    const random = seeded(4)
    for (let asker = 0; asker < 100; asker += 1) ask([first, ...nearly], 20, { random })
    expect(first.has.get(5)!.handouts).toBe(0)
    expect(first.has.get(0)!.handouts).toBe(100)
  })

  it('names a node whose places are all handed out only where nobody else is', () => {
    const busy = nodeHaving('busy', all(3))
    for (const holding of busy.has.values()) holding.handouts = HANDOUTS_PER_HEARTBEAT_MAX
    expect(nodesOf(ask([busy, ...many(50, 'n', all(3))], 3)).has('busy')).toBe(false)
    expect(nodesOf(ask([busy], 3)).has('busy')).toBe(true)
  })

  it('names at most half seeds while others are there', () => {
    const lists = ask([...many(100, 's', [0]), ...many(100, 'l', [0], false)], 1)
    const seeds = namesOf(lists[0]!).filter((name) => name.startsWith('s'))
    expect(seeds.length).toBeGreaterThan(PULL_NODES_MAX / 4)
    expect(seeds.length).toBeLessThanOrEqual(PULL_NODES_MAX / 2)
  })

  it('names nodes that only dial where places are left, or nobody else has the blob', () => {
    const nodes = [...many(10, 'n', [0]), nodeHaving('nat', [0, 1])]
    const isLast = ({ node }: Holding) => node.name === 'nat'
    expect(namesOf(ask(nodes, 2, { isLast })[1]!)).toEqual(['nat'])
    const crowd = [...many(50, 'n', [0, 1]), nodeHaving('nat', [0, 1])]
    expect(nodesOf(ask(crowd, 2, { isLast })).has('nat')).toBe(false)
  })

  it('costs no more in a large swarm than in a small one', () => {
    const nodes = many(5000, 'n', all(60))
    let looked = 0
    ask(nodes, 60, {
      candidateOf: ({ has }, blob) => {
        looked += 1
        return has.get(blob)
      },
    })
    expect(looked).toBeLessThanOrEqual(60 * PULL_NODES_SAMPLED_MAX)
  })
})
