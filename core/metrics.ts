import Counter from 'prom-client/lib/counter.js'
import Gauge from 'prom-client/lib/gauge.js'
import Registry from 'prom-client/lib/registry.js'

// Imported by path: the package's index also loads cluster support and OpenTelemetry, 7 MiB of a node's memory.

/**
 * Metrics of one process in the Prometheus text format, passed as an argument; nothing is global. Label values come from
 * small fixed sets and are never a digest or an address. Each series starts at zero, so that rates are right from the
 * first event on.
 */
export interface Metrics {
  counter<Labels extends LabelSets = NoLabels>(options: MetricOptions<Labels>): CounterMetric<Labels>
  /** `read` is called at each scrape, once for each combination of label values. */
  gauge<Labels extends LabelSets = NoLabels>(options: ReadMetricOptions<Labels>): void
  /** A counter that is kept elsewhere; `read` as for a gauge. */
  total<Labels extends LabelSets = NoLabels>(options: ReadMetricOptions<Labels>): void
  /** For metrics that need more features of prom-client. */
  readonly registry: Registry
  readonly contentType: string
  /** The answer to GET /metrics. */
  text(): Promise<string>
}

/** Possible values by label name. */
export type LabelSets = Record<string, readonly string[]>
export type NoLabels = Record<never, never>
export type LabelValues<Labels extends LabelSets> = { [Name in keyof Labels]: Labels[Name][number] }

export interface MetricOptions<Labels extends LabelSets = NoLabels> {
  /** Units last: `shoal_node_blob_bytes_total`, `shoal_tracker_grant_seconds`. */
  name: string
  help: string
  labels?: Labels
}

export type ReadMetricOptions<Labels extends LabelSets> = MetricOptions<Labels> & {
  read: (labels: LabelValues<Labels>) => number
}

export interface CounterMetric<Labels extends LabelSets> {
  /** Adds `amount`, by default 1. */
  add(labels: LabelValues<Labels>, amount?: number): void
}

/** Bound of series per metric: the product of its label sets. */
export const SERIES_MAX = 256

/** @param process also report memory, CPU and start of this process */
export function createMetrics(options: { process?: boolean } = {}): Metrics {
  const registry = new Registry()
  const metrics: Metrics = {
    counter: (metric) => makeCounter(registry, metric),
    gauge: (metric) => {
      new Gauge({
        ...described(registry, metric),
        collect() {
          for (const series of combinationsOf(metric)) this.set(series, metric.read(series))
        },
      })
    },
    total: (metric) => {
      new Counter({
        ...described(registry, metric),
        collect() {
          this.reset()
          for (const series of combinationsOf(metric)) this.inc(series, metric.read(series))
        },
      })
    },
    registry,
    contentType: registry.contentType,
    text: () => registry.metrics(),
  }
  if (options.process) addProcessMetrics(metrics)
  return metrics
}

function makeCounter<Labels extends LabelSets>(
  registry: Registry,
  metric: MetricOptions<Labels>,
): CounterMetric<Labels> {
  const counter = new Counter(described(registry, metric))
  for (const series of combinationsOf(metric)) counter.inc(series, 0)
  return { add: (values, amount = 1) => counter.inc(values as Record<string, string>, amount) }
}

function described(registry: Registry, { name, help, labels = {} }: MetricOptions<LabelSets>) {
  return { name, help, labelNames: Object.keys(labels), registers: [registry] }
}

function combinationsOf<Labels extends LabelSets>({ labels }: MetricOptions<Labels>): LabelValues<Labels>[] {
  return combinations(Object.entries(labels ?? {})) as LabelValues<Labels>[]
}

function combinations(sets: [string, readonly string[]][]): Record<string, string>[] {
  const count = sets.reduce((product, [, values]) => product * values.length, 1)
  if (count > SERIES_MAX) throw new RangeError(`a metric with ${count} series; at most ${SERIES_MAX}`)
  return sets.reduce<Record<string, string>[]>(
    (series, [label, values]) => series.flatMap((one) => values.map((value) => ({ ...one, [label]: value }))),
    [{}],
  )
}

/**
 * The few process metrics that operators use, under the names that Prometheus clients share. prom-client's own set needs
 * observers and timers, which cost a node too much.
 */
function addProcessMetrics(metrics: Metrics): void {
  const startedAtSeconds = Math.round(Date.now() / 1000 - process.uptime())
  metrics.gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory of this process.',
    read: () => process.memoryUsage.rss(),
  })
  metrics.gauge({
    name: 'process_start_time_seconds',
    help: 'When this process started, in seconds since 1970.',
    read: () => startedAtSeconds,
  })
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'User and system CPU time of this process.',
    registers: [metrics.registry],
    collect() {
      const { user, system } = process.cpuUsage()
      this.reset()
      this.inc((user + system) / 1e6)
    },
  })
}
