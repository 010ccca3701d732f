import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import { RefusedError } from '../errors.ts'
import { LEARNED, type LearnedRecord, REVOCATIONS_GAP, type RestoreRecord } from '../store/restores.ts'
import type { NewRevocation } from '../store/revocations.ts'
import type { ActedBy, Store } from '../store/store.ts'
import { NODE_CERTIFICATE_SECONDS } from './cluster-authority.ts'
import type { Clusters } from './clusters.ts'
import {
  type CopiedRevocation,
  copyIdOf,
  type RevocationCopies,
  readCopies,
  type Statement,
} from './revocation-copies.ts'
import type { Revocations } from './revocations.ts'

/** How long after the confirmation of a backup nodes are asked for their copies. One that was away for longer must join again. */
const ASKED_AFTER_MS = NODE_CERTIFICATE_SECONDS * 1000
/** Bound of counted callers whose certificate is of an unknown authority. */
const FOREIGN_MAX = 1024

/** What an operator is shown before the tracker may grant again. */
export interface RestoreReport extends RestoreRecord {
  isGranting: boolean
  clusters: {
    cluster: ClusterId
    nodesOnRecord: number
    /** Nodes that told what they carry. */
    nodesHeard: number
    /** The signing key was changed after the backup. */
    isKeyReplaced: boolean
    learned: LearnedRevocation[]
  }[]
  /** Callers whose certificate no authority of the backup issued, as after a change of an authority. */
  foreignCallers: number
}

export interface LearnedRevocation {
  kind: 'node' | 'pull'
  target: string
  atMs: number
  /** Nodes that brought it. */
  nodes: number
  /** False: it also barred a user or token, and the secrets were sealed anew since the backup. */
  isWhole: boolean
}

interface Deps {
  store: Store
  clusters: Clusters
  revocations: Revocations
  copies: RevocationCopies
  nowMs: () => number
}

/**
 * A store that was restored from a backup. Invariant: until an operator confirms, the tracker grants nothing, and its list of
 * revocations replaces nobody's; what nodes bring is in force from the confirmation on, or at once after it.
 */
export class Restored {
  readonly #deps: Deps
  #record: RestoreRecord | undefined
  #heard = new Set<string>()
  readonly #foreign = new Set<string>()

  private constructor(deps: Deps) {
    this.#deps = deps
  }

  static async load(deps: Deps): Promise<Restored> {
    const restored = new Restored(deps)
    await restored.reload()
    return restored
  }

  /** Takes up what is in the store, also what another tracker put there. */
  async reload(): Promise<void> {
    const { store } = this.#deps
    this.#record = await store.lastRestore()
    if (this.#record === undefined) return
    this.#heard = new Set((await store.heardNodes()).map(({ cluster, node }) => `${cluster} ${node}`))
  }

  get isGranting(): boolean {
    return this.#record === undefined || this.#record.confirmedAtMs !== null
  }

  /** @throws RefusedError TRACKER_RESTORED */
  checkGranting(): void {
    if (!this.isGranting)
      throw new RefusedError('TRACKER_RESTORED', 'the tracker was restored and waits for its operator')
  }

  /** The node is asked for its copies of revocations above this number; undefined: it is not asked. */
  wantsFrom(cluster: ClusterId, node: NodeId): number | undefined {
    if (this.#record === undefined || this.#heard.has(`${cluster} ${node}`)) return undefined
    const { confirmedAtMs, revocationsFrom } = this.#record
    const isOver = confirmedAtMs !== null && this.#deps.nowMs() > confirmedAtMs + ASKED_AFTER_MS
    return isOver ? undefined : revocationsFrom
  }

  /** A caller's certificate is of no authority that this tracker knows. */
  noteForeign(caller: string): void {
    if (!this.isGranting && this.#foreign.size < FOREIGN_MAX) this.#foreign.add(caller)
  }

  /** Takes what a node carries. Copies that no key of the cluster signed count for nothing. */
  async hear(cluster: ClusterId, node: NodeId, copies: readonly string[]): Promise<void> {
    if (this.wantsFrom(cluster, node) === undefined) return
    // At once: it is asked once, however many heartbeats it sends meanwhile.
    this.#heard.add(`${cluster} ${node}`)
    try {
      await this.#learn(cluster, node, copies)
    } catch (error) {
      this.#heard.delete(`${cluster} ${node}`)
      throw error
    }
  }

  async #learn(cluster: ClusterId, node: NodeId, copies: readonly string[]): Promise<void> {
    const { store, nowMs } = this.#deps
    const earlier = (await this.#copiesOf(cluster)).map(({ copy }) => copy)
    const read = await this.#read(cluster, [...copies, ...earlier])
    const told = new Map(copies.filter((copy) => read.has(copy)).map((copy) => [copyIdOf(copy), copy]))
    const fresh = await store.learn({ cluster, node, atMs: nowMs() }, told)
    if (!this.isGranting) return
    // What another copy told before is in force, or an administrator cleared it.
    const known = new Set(revocationsIn(earlier.flatMap((copy) => read.get(copy) ?? [])).map(nameOf))
    const late = fresh.flatMap((id) => read.get(told.get(id)!) ?? [])
    for (const { revocation } of this.#lost(late))
      if (!known.has(nameOf(revocation))) await this.#putInForce(revocation)
  }

  /** @returns undefined where nothing was restored */
  async report(): Promise<RestoreReport | undefined> {
    await this.reload()
    if (this.#record === undefined) return undefined
    const clusters = this.#deps.clusters.list().map(({ cluster }) => this.#reportOf(cluster))
    return {
      ...this.#record,
      isGranting: this.isGranting,
      clusters: await Promise.all(clusters),
      foreignCallers: this.#foreign.size,
    }
  }

  /**
   * Puts into force what was learned, and grants again. A signing key that was replaced after the backup is replaced again:
   * somebody else may have had it.
   * @param isUnheard also where no node of a cluster with nodes was heard
   * @returns what was put into force
   * @throws RefusedError RESTORE_NONE, RESTORE_UNHEARD
   */
  async confirm({ isUnheard }: { isUnheard: boolean }, by: ActedBy): Promise<NewRevocation[]> {
    const { store, clusters, revocations } = this.#deps
    const report = await this.report()
    if (report === undefined || report.isGranting) throw noneWaits()
    const silent = report.clusters.filter((it) => it.nodesOnRecord > 0 && it.nodesHeard === 0)
    if (silent.length > 0 && !isUnheard)
      throw new RefusedError(
        'RESTORE_UNHEARD',
        `no node of ${silent.map(({ cluster }) => cluster).join(', ')} has told yet what was revoked since the backup`,
      )
    const lost = await Promise.all(report.clusters.map(({ cluster }) => this.#lostIn(cluster)))
    const inForce = lost.flat().map(({ revocation }) => revocation)
    const target = new Date(report.backupAtMs).toISOString()
    const entry = { actor: by.actor, action: 'restored backup confirmed', cluster: null, target }
    if (!(await store.confirmRestore(inForce, { ...entry, atMs: by.nowMs }))) throw noneWaits()
    await revocations.reload()
    await this.reload()
    for (const { cluster, isKeyReplaced } of report.clusters) {
      // Another change may be under way, as it was in the backup: then it goes on.
      const isChanging = clusters.get(cluster).keyRotation !== undefined
      if (isKeyReplaced && !isChanging) await clusters.addSigningKey(cluster, { isLeaked: true }, by)
    }
    return inForce
  }

  async #reportOf(cluster: ClusterId): Promise<RestoreReport['clusters'][number]> {
    const copies = await this.#copiesOf(cluster)
    const statements = await this.#statementsIn(cluster, copies)
    const nodesOf = (target: string) =>
      copies.reduce((sum, { copy, nodes }) => {
        const statement = statements.get(copy)
        return sum + (statement?.kind !== 'key' && statement?.target === target ? nodes : 0)
      }, 0)
    const learned = this.#lost([...statements.values()])
    return {
      cluster,
      nodesOnRecord: (await this.#deps.store.nodes(cluster)).length,
      nodesHeard: [...this.#heard].filter((key) => key.startsWith(`${cluster} `)).length,
      isKeyReplaced: [...statements.values()].some(({ kind }) => kind === 'key'),
      learned: learned.map(({ revocation: { kind, target, atMs }, isWhole }) => ({
        ...{ kind, target, atMs, isWhole },
        nodes: nodesOf(target),
      })),
    }
  }

  async #lostIn(cluster: ClusterId) {
    const statements = await this.#statementsIn(cluster, await this.#copiesOf(cluster))
    return this.#lost([...statements.values()])
  }

  /** Of what nodes brought, each revocation once that is newer than the backup and not in force. */
  #lost(statements: readonly Statement[]): { revocation: NewRevocation; isWhole: boolean }[] {
    const { revocationsFrom } = this.#record!
    const inForce = new Set(this.#deps.revocations.list().map(nameOf))
    const isLost = ({ sequence, endsAtMs, ...it }: CopiedRevocation) =>
      sequence > revocationsFrom &&
      sequence < revocationsFrom + REVOCATIONS_GAP &&
      (endsAtMs === null || endsAtMs > this.#deps.nowMs()) &&
      !inForce.has(nameOf(it))
    const lost = new Map(
      revocationsIn(statements)
        .filter(isLost)
        .map((it) => [nameOf(it), it]),
    )
    return [...lost.values()].map((copied) => this.#deps.copies.revocationOf(copied))
  }

  async #putInForce(revocation: NewRevocation): Promise<void> {
    const { cluster, target } = revocation
    const entry = { actor: 'tracker', action: LEARNED, cluster, target }
    await this.#deps.store.addRevocation(revocation, { ...entry, atMs: this.#deps.nowMs() })
    await this.#deps.revocations.reload()
  }

  async #copiesOf(cluster: ClusterId): Promise<LearnedRecord[]> {
    return (await this.#deps.store.learned()).filter((it) => it.cluster === cluster)
  }

  #statementsIn(cluster: ClusterId, learned: readonly LearnedRecord[]): Promise<Map<string, Statement>> {
    return this.#read(
      cluster,
      learned.map(({ copy }) => copy),
    )
  }

  #read(cluster: ClusterId, copies: readonly string[]): Promise<Map<string, Statement>> {
    return readCopies(this.#deps.clusters.get(cluster), copies)
  }
}

function revocationsIn(statements: readonly Statement[]): CopiedRevocation[] {
  return statements.filter((it): it is CopiedRevocation => it.kind !== 'key')
}

function nameOf({ cluster, kind, target }: Pick<NewRevocation, 'cluster' | 'kind' | 'target'>): string {
  return `${cluster} ${kind} ${target}`
}

function noneWaits(): RefusedError {
  return new RefusedError('RESTORE_NONE', 'no restored backup waits for its confirmation')
}
