import type { RegistryAccess } from './registry-access.ts'
import type { RegistryStream } from './registry-stream.ts'

/**
 * A lease holder opens an open-ended read this long before its credential expires. The registry serves it past the
 * expiry, as it does for a daemon.
 */
const OPEN_BEFORE_END_MS = 10_000

/**
 * An open-ended read: the registry's answer to the end of the blob, opened while the credential was valid. One run at
 * a time reads from it. Invariant: at most one is open.
 */
export class OpenEndedRead {
  readonly #access: Pick<RegistryAccess, 'endsAtMs' | 'stream'>
  readonly #pieceCount: number
  #open: { stream: RegistryStream; abort: AbortController; isInUse: boolean } | undefined

  constructor(access: Pick<RegistryAccess, 'endsAtMs' | 'stream'>, pieceCount: number) {
    this.#access = access
    this.#pieceCount = pieceCount
  }

  get isOpen(): boolean {
    return this.#open !== undefined
  }

  /** The next piece that it yields. */
  get piece(): number | undefined {
    return this.#open?.stream.piece
  }

  /** The credential expires soon or has expired. A read opened now can still be read afterwards. */
  get isDue(): boolean {
    const { endsAtMs } = this.#access
    return !this.isOpen && endsAtMs !== undefined && Date.now() > endsAtMs - OPEN_BEFORE_END_MS
  }

  /** A range of just these pieces; near and after the credential's expiry, and without ranges, the open-ended read. */
  streamFor(
    { first, end }: { first: number; end: number },
    { signal, isRangeIgnored }: { signal: AbortSignal; isRangeIgnored: boolean },
  ): { stream: RegistryStream; done: () => Promise<void> } {
    if (isRangeIgnored && (this.piece ?? 0) > first) this.end()
    if (!this.isOpen && isRangeIgnored) this.openFrom(0)
    if (this.isDue) this.openFrom(first)
    const used = this.use(first, end, signal)
    if (used) return used
    const stream = this.#access.stream(first, end, signal)
    return { stream, done: () => stream.end() }
  }

  /** Makes the registry begin its answer at piece `first`; the rest waits in the connection. */
  openInTime(first: number): void {
    this.openFrom(first)
      .open()
      .catch(() => this.end())
  }

  openFrom(first: number): RegistryStream {
    const abort = new AbortController()
    const stream = this.#access.stream(first, this.#pieceCount, abort.signal)
    this.#open = { stream, abort, isInUse: false }
    return stream
  }

  /**
   * The stream for pieces [first, end), if it can still yield them and nobody reads it. Call `done` afterwards.
   * @param signal the run's: its abort ends the read
   */
  use(
    first: number,
    end: number,
    signal: AbortSignal,
  ): { stream: RegistryStream; done: () => Promise<void> } | undefined {
    const open = this.#open
    if (!open || open.isInUse || open.stream.piece > first) return undefined
    open.isInUse = true
    const stop = () => this.end()
    signal.addEventListener('abort', stop, { once: true })
    return {
      stream: open.stream,
      done: async () => {
        signal.removeEventListener('abort', stop)
        open.isInUse = false
        // An answer that broke in the middle of a piece cannot be used further.
        if (open.stream.piece !== end) this.end()
      },
    }
  }

  end(): void {
    this.#open?.abort.abort()
    this.#open?.stream.end().catch(() => undefined)
    this.#open = undefined
  }
}
