import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import { RefusedError } from '../errors.ts'
import type { MarkedNode, NodeMarksRecord } from '../store/node-marks.ts'
import type { ActedBy, Store } from '../store/store.ts'

type Marks = Pick<NodeMarksRecord, 'labels' | 'isDrained'>
const NONE: Marks = { labels: {}, isDrained: false }

/** Labels and drain marks of nodes. Invariant: what is in memory is in the store. */
export class NodeMarks {
  readonly #store: Store
  #byNode = new Map<string, Marks>()

  private constructor(store: Store) {
    this.#store = store
  }

  static async load(store: Store): Promise<NodeMarks> {
    const marks = new NodeMarks(store)
    await marks.reload()
    return marks
  }

  of(node: MarkedNode): Marks {
    return this.#byNode.get(keyOf(node)) ?? NONE
  }

  /** A drained node is named to nobody as a peer; who is connected to it stays so. */
  isDrained(cluster: ClusterId, node: NodeId): boolean {
    return this.of({ cluster, node }).isDrained
  }

  /** Replaces all labels. @throws RefusedError NODE_UNKNOWN */
  async label(node: MarkedNode, labels: Record<string, string>, by: ActedBy): Promise<void> {
    await this.#checkKnown(node)
    await this.#store.putLabels(node, labels, auditOf('node labelled', node, by))
    this.#byNode.set(keyOf(node), { ...this.of(node), labels })
  }

  /** @throws RefusedError NODE_UNKNOWN */
  async drain(node: MarkedNode, isDrained: boolean, by: ActedBy): Promise<void> {
    await this.#checkKnown(node)
    await this.#store.putDrained(
      node,
      isDrained,
      auditOf(isDrained ? 'node drained' : 'node undrained', node, by),
    )
    this.#byNode.set(keyOf(node), { ...this.of(node), isDrained })
  }

  /** Takes up what is in the store, also what another tracker put there. */
  async reload(): Promise<void> {
    const records = await this.#store.nodeMarks()
    this.#byNode = new Map(records.map((record) => [keyOf(record), record]))
  }

  async #checkKnown({ cluster, node }: MarkedNode): Promise<void> {
    if (await this.#store.hasNode(cluster, node)) return
    throw new RefusedError('NODE_UNKNOWN', `the cluster has no node ${node}`)
  }
}

function keyOf({ cluster, node }: MarkedNode): string {
  return `${cluster} ${node}`
}

function auditOf(action: string, { cluster, node }: MarkedNode, by: ActedBy) {
  return { atMs: by.nowMs, actor: by.actor, action, cluster, target: node }
}
