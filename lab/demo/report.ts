import type { Digest } from '../../core/digest.ts'
import type { BlobEgress } from '../registry/registry-log.ts'

/** The document of `--json`. All byte fields count layers only. */
export interface DemoReport {
  ok: boolean
  /** The image's compressed layers. */
  blobBytes: number
  /** The part of them that left the registry, by its own access log. */
  registryEgressBytes: number
  /** The node that pulled first comes first. */
  nodes: NodeReport[]
  /** Whoever must get nothing from a node, and what he got. */
  refusals: RefusalReport[]
  /** What each part was. */
  parts: PartReport[]
}

export interface RefusalReport {
  who: string
  /** Whom he asked. */
  asked: string
  answer: string
  /** Of layers, from nodes. */
  bytes: number
  /** The answer is the one that shows that it was his right that was judged, and nothing else. */
  isAsExpected: boolean
}

export interface PartReport {
  part: string
  /** In this run. */
  was: string
  isStandIn: boolean
  /** The real part, where it was a stand-in. */
  wouldBe?: string
}

export interface NodeReport {
  name: string
  client: string
  /** Duration of the client's pull. */
  seconds: number
  /** The same without Shoal; 0 if it failed. */
  directSeconds: number
  registryBytes: number
  peerBytes: number
  /** The client's stored bytes hash to the pushed digests. */
  digestVerified: boolean
  peakRssBytes: number
}

/** Observations of the demonstration beside its report. */
export interface DemoFacts {
  layers: readonly { digest: Digest; bytes: number }[]
  egress: ReadonlyMap<Digest, BlobEgress>
  nodes: NodeReport[]
  /** Descriptions of failures. */
  failures: string[]
  /** Undefined: no client here runs images. */
  hasImageRun: boolean | undefined
  refusals: RefusalReport[]
  parts: PartReport[]
}

/** Nodes after the first must take at least this share of the layers from peers. */
export const PEER_SHARE_MIN = 0.95
/** Bound of copies that count as one: the log counts too many bytes for aborted answers. */
export const COPIES_MAX = 1.05
const MEBIBYTE = 1024 ** 2

/** The report, and every reason why it is not ok. */
export function judge(facts: DemoFacts): { report: DemoReport; reasons: string[] } {
  const blobBytes = sum(facts.layers.map(({ bytes }) => bytes))
  const reasons = [
    ...facts.failures,
    ...facts.nodes
      .filter((node) => !node.digestVerified)
      .map(({ name }) => `${name} did not store what was pushed`),
    ...facts.nodes.slice(1).flatMap((node) => shareReason(node, blobBytes)),
    ...facts.layers.flatMap((layer, index) => copiesReason(layer, index, facts.egress)),
    ...(facts.hasImageRun === false ? ['the image did not run under the real dockerd'] : []),
    ...(facts.refusals.length === 0 ? ['nobody without a right was tried'] : []),
    ...facts.refusals.filter(({ bytes }) => bytes > 0).map(({ who, bytes }) => `${who} got ${bytes} bytes`),
    ...facts.refusals
      .filter(({ isAsExpected }) => !isAsExpected)
      .map(({ who, asked, answer }) => `${who} asked ${asked}, and the answer was ${answer}`),
  ]
  const registryEgressBytes = sum(facts.layers.map(({ digest }) => facts.egress.get(digest)?.bytes ?? 0))
  const { nodes, refusals, parts } = facts
  const report = { ok: reasons.length === 0, blobBytes, registryEgressBytes, nodes, refusals, parts }
  return { report, reasons }
}

function shareReason({ name, peerBytes }: NodeReport, blobBytes: number): string[] {
  const share = peerBytes / blobBytes
  if (share >= PEER_SHARE_MIN) return []
  return [`${name} took ${percent(share)} of the layers from peers, not ${percent(PEER_SHARE_MIN)}`]
}

function copiesReason(
  layer: { digest: Digest; bytes: number },
  index: number,
  egress: ReadonlyMap<Digest, BlobEgress>,
): string[] {
  const copies = (egress.get(layer.digest)?.bytes ?? 0) / layer.bytes
  if (copies >= 1 && copies <= COPIES_MAX) return []
  return [`layer ${index + 1} left the registry ${copies.toFixed(2)} times, not once`]
}

const NODE_COLUMNS = [
  'node',
  'client',
  'seconds',
  'direct',
  'from registry',
  'from peers',
  'verified',
  'memory',
]
const REFUSAL_COLUMNS = ['who', 'asked', 'answer', 'bytes from nodes']
const PART_COLUMNS = ['part', 'in this run', 'for real']

/** The closing tables, and their meaning in one line. */
export function renderTable({ nodes, blobBytes, registryEgressBytes, refusals, parts }: DemoReport): string {
  const nodeRows = nodes.map((node) => [
    node.name,
    node.client,
    node.seconds.toFixed(1),
    node.directSeconds === 0 ? '–' : node.directSeconds.toFixed(1),
    mebibytes(node.registryBytes),
    mebibytes(node.peerBytes),
    node.digestVerified ? 'yes' : 'NO',
    node.peakRssBytes === 0 ? '–' : mebibytes(node.peakRssBytes),
  ])
  const refusalRows = refusals.map(({ who, asked, answer, bytes }) => [who, asked, answer, String(bytes)])
  const partRows = parts.map(({ part, was, wouldBe = '' }) => [part, was, wouldBe])
  const copies = blobBytes === 0 ? 0 : registryEgressBytes / blobBytes
  const closing = [
    `The layers are ${mebibytes(blobBytes)}; ${nodes.length} nodes have them now; the registry sent`,
    `${mebibytes(registryEgressBytes)}: ${copies.toFixed(2)} copies. direct: seconds of the same pulls without Shoal.`,
  ].join('\n')
  const partColumns = parts.some(({ isStandIn }) => isStandIn) ? 3 : 2
  const partTable = [PART_COLUMNS, ...partRows].map((row) => row.slice(0, partColumns))
  const sections = [
    table([NODE_COLUMNS, ...nodeRows], 2),
    table([REFUSAL_COLUMNS, ...refusalRows], 3),
    table(partTable, 3),
    closing,
  ]
  return `${sections.join('\n\n')}\n`
}

/** The first columns to the left, the rest to the right. */
function table(rows: string[][], leftColumns: number): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  const cell = (text: string, column: number) =>
    column < leftColumns ? text.padEnd(widths[column]!) : text.padStart(widths[column]!)
  const lines = rows.map((row) => row.map(cell).join('  ').trimEnd())
  lines.splice(1, 0, widths.map((width) => '-'.repeat(width)).join('  '))
  return lines.join('\n')
}

export function mebibytes(bytes: number): string {
  return `${(bytes / MEBIBYTE).toFixed(1)} MiB`
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
