import { expect, test } from 'vitest'
import { type Digest, parseDigest } from '../../core/digest.ts'
import {
  type DemoFacts,
  judge,
  type NodeReport,
  type RefusalReport,
  renderTable,
} from '../../lab/demo/report.ts'

const layers = ['a', 'b'].map((hex, index) => ({
  digest: parseDigest(`sha256:${hex.repeat(64)}`),
  bytes: (index + 1) * 1000,
}))

function node(name: string, peerBytes: number, differences: Partial<NodeReport> = {}): NodeReport {
  const registryBytes = 3000 - peerBytes
  return {
    ...{ name, client: 'skopeo', seconds: 1.5, directSeconds: 1.2, registryBytes, peerBytes },
    ...{ digestVerified: true, peakRssBytes: 100 * 1024 ** 2 },
    ...differences,
  }
}

function refusal(differences: Partial<RefusalReport> = {}): RefusalReport {
  return {
    ...{ who: 'a stranger', asked: 'node1', answer: 'refused: 401', bytes: 0, isAsExpected: true },
    ...differences,
  }
}

function facts(differences: Partial<DemoFacts> = {}): DemoFacts {
  return {
    layers,
    egress: new Map(layers.map(({ digest, bytes }) => [digest, { bytes, requests: 1 }])),
    nodes: [node('node1', 0), node('node2', 3000), node('node3', 2900)],
    failures: [],
    hasImageRun: true,
    refusals: [refusal()],
    parts: [
      { part: 'registry', was: 'stand-in', isStandIn: true, wouldBe: 'docker-registry' },
      { part: 'network', was: 'loopback', isStandIn: true, wouldBe: 'a network namespace for each' },
    ],
    ...differences,
  }
}

function egressOf(digest: Digest, bytes: number): DemoFacts['egress'] {
  return new Map([...facts().egress, [digest, { bytes, requests: 1 }]])
}

test('the report is ok when all that the demonstration promises was seen', () => {
  const { report, reasons } = judge(facts())
  expect(reasons).toEqual([])
  const { nodes, refusals, parts } = facts()
  expect(report).toEqual({ ok: true, blobBytes: 3000, registryEgressBytes: 3000, nodes, refusals, parts })
})

test.each([
  ['a later node takes too little from peers', { nodes: [node('node1', 0), node('node2', 2800)] }],
  ['a client stored something else', { nodes: [node('node1', 0, { digestVerified: false })] }],
  ['a layer left the registry twice', { egress: egressOf(layers[0]!.digest, 2000) }],
  ['a layer never left the registry', { egress: egressOf(layers[1]!.digest, 0) }],
  ['the image did not run', { hasImageRun: false }],
  ['somebody without a right got a byte', { refusals: [refusal({ bytes: 1 })] }],
  ['somebody was refused for another reason', { refusals: [refusal({ isAsExpected: false })] }],
  ['nobody without a right was tried', { refusals: [] }],
  ['a pull failed', { failures: ['node2 could not pull'] }],
])('the report is not ok, with one reason, when %s', (_, differences) => {
  const { report, reasons } = judge(facts(differences))
  expect(report.ok).toBe(false)
  expect(reasons).toHaveLength(1)
})

test('the table has a line per node and says how many copies left the registry', () => {
  const lines = renderTable(judge(facts()).report).split('\n')
  expect(lines[0]).toMatch(/^node +client +seconds +direct +from registry +from peers +verified +memory$/)
  expect(lines.filter((text) => /^node\d /.test(text))).toHaveLength(3)
  expect(lines[3]).toMatch(/^node2 +skopeo +1\.5 +1\.2 .* yes +100\.0 MiB$/)
  expect(lines.at(-2)).toContain('1.00 copies')
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80)
})

test('the table names who was refused, what each part was, and the real part where it was a stand-in', () => {
  const table = renderTable(judge(facts()).report)
  expect(table).toMatch(/^a stranger +node1 +refused: 401 +0$/m)
  expect(table).toMatch(/^registry +stand-in +docker-registry$/m)
  const parts = [{ part: 'registry', was: 'docker-registry', isStandIn: false }]
  expect(renderTable(judge(facts({ parts })).report)).toMatch(/^part +in this run$/m)
})

test('an image that no client here runs is no failure', () => {
  expect(judge(facts({ hasImageRun: undefined })).reasons).toEqual([])
})
