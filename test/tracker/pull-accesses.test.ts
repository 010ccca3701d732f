import { describe, expect, it } from 'vitest'
import type { NodeId, SwarmId } from '../../core/metainfo.ts'
import type { Repository } from '../../core/repository.ts'
import { ACCESSES_PER_SWARM_MAX, PullAccesses } from '../../tracker/swarm/pull-accesses.ts'

const SWARM = 'a'.repeat(40) as SwarmId
const MINUTE_MS = 60_000

describe('the accesses to a blob', () => {
  const accessOf = (name: string) => ({
    node: name as NodeId,
    repository: 'team/app' as Repository,
    authorization: `Bearer ${name}`,
  })
  const nodesOf = (accesses: PullAccesses, nowMs: number) =>
    accesses.usable(SWARM, nowMs).map(({ node }) => node)

  it('are those of the last nodes, each once, the newest first', () => {
    const accesses = new PullAccesses()
    for (const [at, name] of ['a', 'b', 'a', 'c', 'd', 'e'].entries())
      accesses.note(SWARM, accessOf(name), undefined, at)
    expect(nodesOf(accesses, 10)).toEqual(['e', 'd', 'c', 'a'])
    expect(nodesOf(accesses, 10)).toHaveLength(ACCESSES_PER_SWARM_MAX)
    expect(accesses.usable('b'.repeat(40) as SwarmId, 10)).toEqual([])
  })

  it('end to the letter with their token, and after ten minutes', () => {
    const accesses = new PullAccesses()
    accesses.note(SWARM, accessOf('short'), MINUTE_MS, 0)
    accesses.note(SWARM, accessOf('endless'), undefined, 0)
    expect(nodesOf(accesses, MINUTE_MS - 1)).toEqual(['endless', 'short'])
    expect(nodesOf(accesses, MINUTE_MS)).toEqual(['endless'])
    expect(nodesOf(accesses, 10 * MINUTE_MS)).toEqual([])
  })

  it('are not displaced by tokens that are over, or over first', () => {
    const accesses = new PullAccesses()
    accesses.note(SWARM, accessOf('honest'), 5 * MINUTE_MS, 0)
    accesses.note(SWARM, accessOf('honest'), 0, 0)
    for (let name = 0; name < 10; name += 1) accesses.note(SWARM, accessOf(`${name}`), MINUTE_MS, 1)
    expect(nodesOf(accesses, 2)).toContain('honest')
  })
})
