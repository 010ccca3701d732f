import { join } from 'node:path'
import type { Logger } from 'pino'
import { z } from 'zod'
import { readOwnFile, replaceFileLater } from '../core/data-folder.ts'
import { isSystemError } from '../core/defects.ts'
import { isNewer } from '../core/format-version.ts'
import { addBytes, noBytes, PULL_OUTCOMES, type PullBytes, type PullRecord } from '../proxy/pull-record.ts'
import { PULL_LAYERS_KEPT_MAX, PULLS_KEPT_MAX, PullRecords } from '../proxy/pull-records.ts'
import { WAIT_BUCKETS_MAX } from '../proxy/waits.ts'

/**
 * The records of pulls and the totals, in a file of the data folder (0600), so that they outlive a restart. The file is
 * replaced whole, at most once in `SAVE_EVERY_MS`, and only after a change. It holds no credential. Invariant: what it
 * says is at most that old; a pull that ran when the node was killed counts as interrupted.
 */

export const PULL_HISTORY_FILE = 'pulls.json'
/** The file is written no more often: a killed node loses this much of its records. */
export const SAVE_EVERY_MS = 5_000
/** A larger file is not read: all layers that are kept, with long names, stay below. Characters. */
export const HISTORY_CHARS_MAX = 16 * 1024 * 1024

/** Bytes since this node was installed. */
export interface InstallTotals extends PullBytes {
  toPeers: number
}

const count = z.int().nonnegative()
const bytesSchema = z.object({ peers: count, registry: count, cache: count, passedThrough: count })
const waitsSchema = z.object({
  chunks: count,
  ms: z.number().nonnegative(),
  buckets: z.array(count).max(WAIT_BUCKETS_MAX),
})
const layerSchema = z.object({
  digest: z.string(),
  size: count.optional(),
  beganMs: count,
  endedMs: count.optional(),
  bytes: bytesSchema,
  // Former versions kept none.
  waits: z
    .object({ peers: waitsSchema, registry: waitsSchema, cache: waitsSchema, passedThrough: waitsSchema })
    .partial()
    .optional(),
  reasons: z.array(z.string()),
  outcome: z.enum(PULL_OUTCOMES),
})
const pullSchema = z.object({
  id: z.string(),
  registry: z.string(),
  repository: z.string(),
  reference: z.string().optional(),
  digest: z.string().optional(),
  layers: z.array(layerSchema).min(1).max(PULL_LAYERS_KEPT_MAX),
})
const HISTORY_VERSION = 1
const historySchema = z.object({
  version: z.literal(HISTORY_VERSION),
  installedMs: count,
  savedMs: count,
  totals: bytesSchema.extend({ toPeers: count }),
  pulls: z.array(pullSchema).max(PULLS_KEPT_MAX + 1),
})
type History = z.output<typeof historySchema>

export interface PullHistoryOptions {
  dataDir: string
  /** Bytes sent to peers since the start. */
  sentToPeers: () => number
  log: Pick<Logger, 'warn'>
  saveEveryMs?: number
}

export class PullHistory {
  readonly records: PullRecords
  readonly installedMs: number
  readonly #path: string
  readonly #before: InstallTotals
  readonly #sentToPeers: () => number
  readonly #log: Pick<Logger, 'warn'>
  readonly #timer: NodeJS.Timeout
  #savedVersion = -1
  #savedToPeers = 0
  #saving: Promise<void> | undefined
  #hasFailed = false

  constructor({ dataDir, sentToPeers, log, saveEveryMs = SAVE_EVERY_MS }: PullHistoryOptions) {
    this.#path = join(dataDir, PULL_HISTORY_FILE)
    this.#sentToPeers = sentToPeers
    this.#log = log
    const kept = this.#read()
    this.installedMs = kept?.installedMs ?? Date.now()
    this.#before = kept?.totals ?? { ...noBytes(), toPeers: 0 }
    this.records = new PullRecords({ restored: kept === undefined ? [] : ended(kept) })
    this.#timer = setInterval(() => void this.#save(), saveEveryMs)
    this.#timer.unref()
  }

  sinceInstall(): InstallTotals {
    const sum = { ...this.#before }
    addBytes(sum, this.records.total())
    sum.toPeers += this.#sentToPeers()
    return sum
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#saving
    await this.#save()
  }

  /** Without a readable file the records begin anew. */
  #read(): History | undefined {
    try {
      const text = readOwnFile(this.#path)
      if (text === undefined) return undefined
      if (text.length > HISTORY_CHARS_MAX) throw new RangeError('the file is too large')
      const content: unknown = JSON.parse(text)
      if (isNewer(content, HISTORY_VERSION)) throw new RangeError('a newer Shoal wrote it')
      return historySchema.parse(content)
    } catch (error) {
      const reason = error instanceof z.ZodError ? 'it is not as Shoal writes it' : (error as Error).message
      this.#log.warn({ path: this.#path, reason }, 'the records of pulls cannot be read; they begin anew')
      return undefined
    }
  }

  #save(): Promise<void> {
    const [version, toPeers] = [this.records.version, this.#sentToPeers()]
    if (version === this.#savedVersion && toPeers === this.#savedToPeers) return Promise.resolve()
    this.#saving ??= this.#write()
      .then(() => {
        this.#savedVersion = version
        this.#savedToPeers = toPeers
        this.#hasFailed = false
      })
      .catch((error: unknown) => this.#failed(error))
      .finally(() => {
        this.#saving = undefined
      })
    return this.#saving
  }

  /** Records are worth no trouble: on a full disk they stay in memory. Said once. */
  #failed(error: unknown): void {
    if (!isSystemError(error)) throw error
    if (!this.#hasFailed)
      this.#log.warn({ err: error, path: this.#path }, 'the records of pulls cannot be kept')
    this.#hasFailed = true
  }

  async #write(): Promise<void> {
    const history: History = {
      version: HISTORY_VERSION,
      installedMs: this.installedMs,
      savedMs: Date.now(),
      totals: this.sinceInstall(),
      pulls: this.records.records(),
    }
    await replaceFileLater(this.#path, JSON.stringify(history))
  }
}

/** What ran when the file was written was interrupted by the node's end. */
function ended({ pulls, savedMs }: History): PullRecord[] {
  for (const layer of pulls.flatMap(({ layers }) => layers)) {
    if (layer.outcome !== 'running') continue
    layer.outcome = 'interrupted'
    layer.endedMs = Math.max(savedMs, layer.beganMs)
  }
  return pulls
}
