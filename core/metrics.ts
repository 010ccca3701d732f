import { Counter, Gauge, Registry } from 'prom-client'

/**
 * A fresh set of metrics (Prometheus text format), passed by argument to the parts that add theirs; nothing is global.
 * It starts with the process's own memory and CPU: prom-client's default metrics cost timers and observers that a node
 * has better use for. Labels come from small fixed sets, never a digest or an address.
 */
export function createMetrics(): Registry {
  const registry = new Registry()
  const registers = [registry]
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory of this process',
    registers,
    collect() {
      this.set(process.memoryUsage.rss())
    },
  })
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'User and system CPU time of this process',
    registers,
    collect() {
      this.reset()
      this.inc(cpuSeconds())
    },
  })
  new Gauge({
    name: 'process_start_time_seconds',
    help: 'When this process started, in seconds since 1970',
    registers,
  }).set(Math.round(Date.now() / 1000 - process.uptime()))
  return registry
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}
