import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import { DEFECT_PLACES, DEFECTS_METRIC, type DefectPlace } from '../core/defects.ts'

/** The tracker's own metrics. Labels come from small fixed sets: routes and codes. */
export interface TrackerMetrics {
  registry: Registry
  grants: Counter
  leases: Counter
  confirmed: Counter
  epochRises: Counter
  badPeers: Counter
  refusals: Counter<'code'>
  /** Disputed pieces, by who was wrong. */
  verdicts: Counter<'verdict'>
  /** Connections that the tracker ended to make room, or during their handshake. */
  connectionsDropped: Counter<'reason'>
  /** Connections to nodes' ports. */
  portTrials: Counter<'result'>
  requestSeconds: Histogram<'route'>
  countDefect(where: DefectPlace): void
}

/** @param nodeCount read when the metrics are asked for */
export function trackerMetrics(registry: Registry, nodeCount: () => number): TrackerMetrics {
  const registers = [registry]
  const counter = (name: string, help: string) =>
    new Counter({ name: `shoal_tracker_${name}`, help, registers })
  new Gauge({
    name: 'shoal_tracker_nodes',
    help: 'Nodes with a recent heartbeat',
    registers,
    collect() {
      this.set(nodeCount())
    },
  })
  const defects = new Counter({ ...DEFECTS_METRIC, labelNames: ['where'], registers })
  for (const where of DEFECT_PLACES) defects.inc({ where }, 0)
  return {
    registry,
    countDefect: (where) => defects.inc({ where }),
    grants: counter('pull_grants_total', 'Pulls granted'),
    leases: counter('leases_total', 'Origin leases given'),
    confirmed: counter('swarms_confirmed_total', 'Swarms whose hashes two nodes matched against the digest'),
    epochRises: counter('epoch_rises_total', 'Epoch rises after a conflict or a mismatch'),
    badPeers: counter('bad_peer_reports_total', 'Peers reported for pieces that do not match their hash'),
    verdicts: new Counter({
      name: 'shoal_tracker_verdicts_total',
      help: 'Disputed pieces that the tracker checked, by who was wrong',
      labelNames: ['verdict'],
      registers,
    }),
    refusals: new Counter({
      name: 'shoal_tracker_refusals_total',
      help: 'Requests refused, by code',
      labelNames: ['code'],
      registers,
    }),
    connectionsDropped: new Counter({
      name: 'shoal_tracker_connections_dropped_total',
      help: 'Connections ended to make room (place), without a handshake in time (handshake), or without the PROXY header of a balancer (header)',
      labelNames: ['reason'],
      registers,
    }),
    portTrials: new Counter({
      name: 'shoal_tracker_port_trials_total',
      help: 'Connections that the tracker tried to the ports of nodes, by result',
      labelNames: ['result'],
      registers,
    }),
    requestSeconds: new Histogram({
      name: 'shoal_tracker_request_seconds',
      help: 'Time to answer, by route',
      labelNames: ['route'],
      buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10],
      registers,
    }),
  }
}
