import { join } from 'node:path'
import type { Logger } from 'pino'
import { z } from 'zod'
import { blocksNews } from '../../core/blocks-api.ts'
import { readOwnFile, replaceFile, replaceFileLater } from '../../core/data-folder.ts'
import { isNewer } from '../../core/format-version.ts'
import { REVOCATION_COPIES_MAX, revocationCopy } from '../../core/restore-api.ts'
import { clusterTrust } from '../../core/tracker-api.ts'

/** In the data folder, readable by its owner only: it has the key of the certificate that peers are shown. */
export const NODE_MEMORY_FILE = 'node-memory.json'
/** A change is saved this much later, with those that follow it; a killed node forgets the last ones. */
export const MEMORY_SAVED_AFTER_MS = 2_000
/** What a tracker said longer ago is not taken up: the certificate of a node that was off lasts no longer either. */
export const MEMORY_KEPT_MS = 24 * 3600 * 1000
/** Bound of revocations that are taken up; a tracker has far fewer in force. */
const REVOCATIONS_REMEMBERED_MAX = 100_000
/** Bound of entries with an end that are taken up, of each kind. */
const ENTRIES_REMEMBERED_MAX = 4096

const timeMs = z.int().nonnegative()
const revoked = z.array(z.string().max(64)).max(REVOCATIONS_REMEMBERED_MAX)
const ending = z.array(z.tuple([z.string().max(1024), timeMs])).max(ENTRIES_REMEMBERED_MAX)

const trustRecord = z.object({
  cluster: z.string().max(64),
  /** When the tracker said so. */
  heardAtMs: timeMs,
  trust: clusterTrust,
  revocationsVersion: timeMs,
  revokedNodes: revoked,
  revokedPulls: revoked,
  /** What a tracker that is restored from a backup is told. Absent: an older node wrote this. */
  carried: z
    .object({
      revocations: z.array(z.tuple([z.string().max(128), timeMs, revocationCopy])).max(REVOCATION_COPIES_MAX),
      keyChanges: z.array(revocationCopy).max(REVOCATION_COPIES_MAX),
    })
    .optional(),
  /** Absent: no tracker named any. */
  blocks: blocksNews.optional(),
})
const servingRecord = z.object({
  certificatePem: z.string().max(16_384),
  privateKeyPem: z.string().max(16_384),
  expiresAtMs: timeMs,
})
const linkRecord = servingRecord.omit({ privateKeyPem: true })
const MEMORY_VERSION = 1
const memorySchema = z.object({
  version: z.literal(MEMORY_VERSION),
  trust: trustRecord.nullable(),
  serving: servingRecord.nullable(),
  link: linkRecord.nullable().default(null),
  /** Hashes of credentials that registries accepted, with their end. */
  accepted: ending,
  /** Blobs that are in repositories, with the end of this knowledge. */
  memberships: ending,
})

/** The cluster's trust; all of it is public. */
export type TrustRecord = z.output<typeof trustRecord>
/** The certificate that this node presents to diallers. */
export type ServingRecord = z.output<typeof servingRecord>
/** The certificate that this node shows on links; its key is the node's own. */
export type LinkRecord = z.output<typeof linkRecord>
export type MemoryRecord = Omit<z.output<typeof memorySchema>, 'version'>

/**
 * What a node knows beside its blobs, so that after a restart it serves peers and local readers under the same rules, also
 * while the tracker is silent or the registry away. Has no credential: of those only hashes.
 */
export class NodeMemory {
  readonly #path: string
  readonly #log: Logger
  readonly #record: () => MemoryRecord
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> = Promise.resolve()
  #isClosed = false

  /** @param record what to save */
  constructor({ dataDir, log, record }: { dataDir: string; log: Logger; record: () => MemoryRecord }) {
    this.#path = join(dataDir, NODE_MEMORY_FILE)
    this.#log = log
    this.#record = record
  }

  /**
   * What was saved and still counts; undefined if there is nothing.
   * @throws DataFolderError
   */
  load(nowMs: number): MemoryRecord | undefined {
    const text = readOwnFile(this.#path)
    if (text === undefined) return undefined
    try {
      const content: unknown = JSON.parse(text)
      if (isNewer(content, MEMORY_VERSION)) {
        this.#log.warn({ path: this.#path }, 'a newer Shoal wrote what this node remembered; it begins anew')
        return undefined
      }
      const { trust, serving, link, accepted, memberships } = memorySchema.parse(content)
      const ageMs = nowMs - (trust?.heardAtMs ?? nowMs)
      // A clock that was set back would make ended credentials valid again.
      if (ageMs < 0) return undefined
      const isLive = ([, untilMs]: [string, number]) => untilMs > nowMs
      const isTrusted = ageMs < MEMORY_KEPT_MS
      return {
        trust: isTrusted ? trust : null,
        serving: isTrusted && serving !== null && serving.expiresAtMs > nowMs ? serving : null,
        link: isTrusted && link !== null && link.expiresAtMs > nowMs ? link : null,
        accepted: accepted.filter(isLive),
        memberships: memberships.filter(isLive),
      }
    } catch (error) {
      this.#log.warn(
        { err: error, path: this.#path },
        'cannot read what this node remembered; it begins anew',
      )
      return undefined
    }
  }

  /** Something changed: saves it soon. */
  changed(): void {
    if (this.#isClosed) return
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#writing = this.#writing
        .then(() => replaceFileLater(this.#path, this.#text()))
        .catch((error: unknown) => this.#failed(error))
    }, MEMORY_SAVED_AFTER_MS).unref()
  }

  /** Saves the last changes. */
  async close(): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#timer)
    await this.#writing
    try {
      replaceFile(this.#path, this.#text())
    } catch (error) {
      this.#failed(error)
    }
  }

  #text(): string {
    return JSON.stringify({ version: MEMORY_VERSION, ...this.#record() })
  }

  #failed(error: unknown): void {
    this.#log.warn(
      { err: error, path: this.#path },
      'cannot save what this node remembers; a restart forgets it',
    )
  }
}
