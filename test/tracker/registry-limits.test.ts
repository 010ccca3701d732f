import { expect, test } from 'vitest'
import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import type { RegistryHost } from '../../core/repository.ts'
import { RegistryLimits } from '../../tracker/swarm/registry-limits.ts'

const cluster = 'c1' as ClusterId
const registry = 'registry.example' as RegistryHost
const node = (name: string) => name as NodeId

test('one node’s 429 stops no leases; two nodes’ do, for as long as both were told to wait', () => {
  const limits = new RegistryLimits()
  const note = (name: string, forMs: number, nowMs = 0) =>
    limits.note(cluster, registry, { node: node(name), forMs, nowMs })
  note('one', 10_000)
  note('one', 20_000)
  expect(limits.leftMs(cluster, registry, 0)).toBe(0)
  note('two', 5_000)
  expect(limits.leftMs(cluster, registry, 0)).toBe(5_000)
  note('three', 8_000)
  expect(limits.leftMs(cluster, registry, 1_000)).toBe(7_000)
  expect(limits.leftMs(cluster, registry, 8_000)).toBe(0)
})

test('other clusters and registries go on', () => {
  const limits = new RegistryLimits()
  for (const name of ['one', 'two'])
    limits.note(cluster, registry, { node: node(name), forMs: 5_000, nowMs: 0 })
  expect(limits.leftMs('c2' as ClusterId, registry, 0)).toBe(0)
  expect(limits.leftMs(cluster, 'other.example' as RegistryHost, 0)).toBe(0)
})
