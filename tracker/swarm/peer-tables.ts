import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import type { MemoryChange, PresenceRecord } from '../store/memory.ts'
import { PeerTable } from './peer-table.ts'

/** One table per cluster: no node is ever listed to another cluster, whatever it claims to hold. */
export class PeerTables {
  readonly #ttlMs: number
  readonly #isDrained: (cluster: ClusterId, node: NodeId) => boolean
  readonly #byCluster = new Map<ClusterId, PeerTable>()

  constructor(ttlMs: number, isDrained: (cluster: ClusterId, node: NodeId) => boolean = () => false) {
    this.#ttlMs = ttlMs
    this.#isDrained = isDrained
  }

  of(cluster: ClusterId): PeerTable {
    const known = this.#byCluster.get(cluster)
    const table = known ?? new PeerTable(this.#ttlMs, (node) => this.#isDrained(cluster, node))
    if (known === undefined) this.#byCluster.set(cluster, table)
    return table
  }

  restore({ cluster, ...presence }: PresenceRecord, nowMs: number): void {
    this.of(cluster).restore(presence, nowMs)
  }

  /** Up to `nodesMax` nodes that changed since they were taken last. */
  takeUnsaved(nodesMax: number): Pick<MemoryChange, 'presences' | 'gone'> {
    const taken = { presences: [] as PresenceRecord[], gone: [] as MemoryChange['gone'] }
    for (const [cluster, table] of this.#byCluster) {
      for (const { holds, ...contact } of table.takeUnsaved(
        nodesMax - taken.presences.length - taken.gone.length,
      )) {
        if (holds === undefined) taken.gone.push({ cluster, node: contact.node })
        else taken.presences.push({ cluster, ...contact, holds })
      }
    }
    return taken
  }

  nodeCount(): number {
    return [...this.#byCluster.values()].reduce((sum, table) => sum + table.nodeCount, 0)
  }
}
