import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import { RefusedError } from '../errors.ts'
import type { PauseRecord, PauseTarget } from '../store/pauses.ts'
import type { ActedBy, Store } from '../store/store.ts'

/** Bound of pauses of single nodes, in all clusters together; pause a cluster instead. */
export const NODES_PAUSED_MAX = 10_000

/** The nodes and clusters that are to stand aside. Nodes hear of it with their next heartbeat. */
export class Pauses {
  readonly #store: Store
  #records: PauseRecord[]
  #keys = new Set<string>()

  private constructor(store: Store, records: PauseRecord[]) {
    this.#store = store
    this.#records = records
    this.#index()
  }

  static async load(store: Store): Promise<Pauses> {
    return new Pauses(store, await store.pauses())
  }

  list(): readonly PauseRecord[] {
    return this.#records
  }

  isPaused(cluster: ClusterId, node: NodeId): boolean {
    return this.#keys.has(keyOf({ cluster, node: null })) || this.#keys.has(keyOf({ cluster, node }))
  }

  /** @throws RefusedError NODE_UNKNOWN, PAUSES_TOO_MANY */
  async pause(target: PauseTarget, by: ActedBy): Promise<void> {
    const { cluster, node } = target
    if (node !== null && !this.#keys.has(keyOf(target))) {
      if (!(await this.#store.hasNode(cluster, node)))
        throw new RefusedError('NODE_UNKNOWN', `the cluster has no node ${node}`)
      if (this.#records.length >= NODES_PAUSED_MAX)
        throw new RefusedError('PAUSES_TOO_MANY', 'too many single nodes are paused; pause their cluster')
    }
    await this.#store.putPause({ ...target, atMs: by.nowMs }, auditOf('paused', target, by))
    await this.reload()
  }

  /** Ends a pause, if there is one. */
  async resume(target: PauseTarget, by: ActedBy): Promise<void> {
    await this.#store.removePause(target, auditOf('resumed', target, by))
    await this.reload()
  }

  /** Takes up what is in the store, also what another tracker put there. */
  async reload(): Promise<void> {
    this.#records = await this.#store.pauses()
    this.#index()
  }

  #index(): void {
    this.#keys = new Set(this.#records.map(keyOf))
  }
}

function keyOf({ cluster, node }: PauseTarget): string {
  return `${cluster} ${node ?? ''}`
}

function auditOf(action: 'paused' | 'resumed', { cluster, node }: PauseTarget, by: ActedBy) {
  const what = node === null ? 'cluster' : 'node'
  return { atMs: by.nowMs, actor: by.actor, action: `${what} ${action}`, cluster, target: node ?? cluster }
}
