import type { Registry } from 'prom-client'
import { defectCounter } from '../core/defects.ts'
import { NOWHERE } from '../core/location.ts'
import { createMetrics } from '../core/metrics.ts'
import { type NodeMetricsParts, nodeMetrics } from '../node/metrics.ts'
import { proxyMetrics } from '../proxy/metrics.ts'
import { noBytes } from '../proxy/pull-record.ts'
import { trackerMetrics } from '../tracker/metrics.ts'

const INTRO = `# Metrics

Written by \`npm run docs\` from the source. Both programs answer \`GET /metrics\` in the Prometheus text format: a node on its
admin listener (\`http://127.0.0.1:7072\`), a tracker on its own (\`adminListen\`, TLS) and on the socket in its data folder. Labels
take values from small fixed sets; no label holds a repository, a digest, a subject or an address. Values that are known
beforehand are shown; each of their series begins at 0.
`

/** What prom-client tells of a metric. */
interface Described {
  name: string
  help: string
  type: string
  values: { labels: Record<string, string | number> }[]
}

/** A node that has done nothing. */
const IDLE: NodeMetricsParts = {
  client: {
    progress: () => [],
    status: () => ({
      tracker: { state: 'unknown', sinceMs: 0, calls: { answered: 0, refused: 0, failed: 0 } },
      peers: { connected: 0, refused: 0, unreachable: 0, events: { refused: 0, unreachable: 0 } },
      held: { blobs: 0, bytes: 0, bytesMax: 0, pinnedBytes: 0, evictions: 0 },
      moved: {
        ...{ bytesFromRegistry: 0, bytesFromPeers: 0, bytesFromNear: 0, bytesFromFar: 0 },
        ...{ bytesFromCache: 0, bytesToPeers: 0 },
      },
      location: NOWHERE,
    }),
  },
  conditions: { count: () => 0 },
  records: { total: noBytes },
}

/** The text of docs/metrics.md. */
export async function metricsPage(): Promise<string> {
  const node = createMetrics({ process: true })
  defectCounter(node)
  proxyMetrics(node)
  nodeMetrics(node, IDLE)
  const tracker = createMetrics({ process: true })
  trackerMetrics(tracker.registry, () => 0)
  return [
    INTRO,
    await section('shoal node', node.registry),
    await section('shoal tracker', tracker.registry),
  ].join('\n')
}

async function section(program: string, registry: Registry): Promise<string> {
  const metrics = (await registry.getMetricsAsJSON()) as unknown as Described[]
  const rows = metrics
    .sort((one, other) => one.name.localeCompare(other.name))
    .map(
      (metric) =>
        `| \`${metric.name}\` | ${metric.type} | ${labelsOf(registry, metric)} | ${sentence(metric.help)} |`,
    )
  const head = '| metric | type | labels | meaning |\n|---|---|---|---|'
  return `## ${program}\n\n${head}\n${rows.join('\n')}\n`
}

function labelsOf(registry: Registry, { name, values, type }: Described): string {
  const names = labelNamesOf(registry, name).filter((label) => type !== 'histogram' || label !== 'le')
  return names
    .map((label) => {
      const known = [...new Set(values.map(({ labels }) => labels[label]))].filter(
        (value) => value !== undefined,
      )
      return known.length === 0
        ? `\`${label}\``
        : `\`${label}\`: ${known.map((value) => `\`${value}\``).join(', ')}`
    })
    .join('; ')
}

/** prom-client keeps the names on the metric, and its types do not say so. */
function labelNamesOf(registry: Registry, name: string): string[] {
  const metric = registry.getSingleMetric(name) as unknown as { labelNames?: string[] }
  return metric.labelNames ?? []
}

function sentence(help: string): string {
  return help.endsWith('.') ? help : `${help}.`
}
