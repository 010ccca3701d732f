import { setTimeout } from 'node:timers/promises'
import { type PieceIndex, pieceBytesAt } from '../../core/metainfo.ts'
import { RedirectRefusedError } from '../../core/redirect-rule.ts'
import { OriginRefusedError } from '../errors.ts'
import type { PieceBuffer } from '../store/piece-buffers.ts'
import type { MissingRun } from './fallback-run.ts'
import type { LeaseRequests } from './lease-requests.ts'
import type { OpenEndedRead } from './open-ended-read.ts'
import type { OriginHost } from './origin-host.ts'
import type { RegistryStream } from './registry-stream.ts'

/** How long a run that has read all that it requested waits for the tracker to learn of its next request. */
const KNOWN_MS_MAX = 500

/** The registry will not answer otherwise soon: nobody has to wait to see that. */
export const isFinal = (error: unknown) =>
  error instanceof RedirectRefusedError || (error instanceof OriginRefusedError && error.isFinal)

export interface RunFetchOptions {
  host: Pick<OriginHost, 'layout' | 'buffers' | 'claim' | 'unclaim' | 'isTrackerOff'>
  requests: LeaseRequests
  openEnded: OpenEndedRead
  signal: AbortSignal
  isRangeIgnored(): boolean
  /** Resolves when the tracker has heard of the stored pieces, and of the next request. */
  published(): Promise<void>
  /** Takes over the buffer. */
  store(piece: PieceIndex, buffer: PieceBuffer, length: number): Promise<void>
}

/** One request to the registry, for the pieces [first, end). They are claimed until they are stored. */
interface Request extends MissingRun {
  stream: RegistryStream
  done: () => Promise<void>
  /** Begins when the request before it is about to end. */
  opening?: Promise<void>
}

/** Fetches the missing pieces of one run, in order, request by request. Invariant: at most two requests are open. */
export class RunFetch {
  readonly #options: RunFetchOptions

  constructor(options: RunFetchOptions) {
    this.#options = options
  }

  /** @throws RangeIgnoredError, OriginRefusedError */
  async fetch(): Promise<void> {
    const storing: Promise<void>[] = []
    const { requests } = this.#options
    try {
      for (let request = this.#request(); request; ) {
        if (this.#options.signal.aborted || request.first >= requests.end) request = this.#giveUp(request)
        else request = (await this.#read(request, storing)) ?? (await this.#knownRequest(storing))
      }
    } finally {
      await Promise.allSettled(storing)
    }
    await Promise.all(storing)
  }

  async #knownRequest(storing: readonly Promise<void>[]): Promise<Request | undefined> {
    const { host, requests, published } = this.#options
    if (requests.isNextUnknown && !host.isTrackerOff()) {
      // A busy processor or disk of this node is not the tracker's silence.
      await Promise.allSettled(storing)
      const late = new AbortController()
      const lateness = setTimeout(KNOWN_MS_MAX, undefined, { signal: late.signal }).catch(() => undefined)
      await Promise.race([published(), lateness])
      late.abort()
    }
    return this.#request()
  }

  /** Makes the run's next request; undefined when there is none. */
  #request(): Request | undefined {
    const { host, requests, openEnded, signal } = this.#options
    const isRangeIgnored = this.#options.isRangeIgnored()
    const isOneAnswer = openEnded.isOpen || openEnded.isDue || isRangeIgnored
    const pieces = signal.aborted ? undefined : requests.take({ isOneAnswer, nowMs: Date.now() })
    if (pieces === undefined) return undefined
    for (let piece = pieces.first; piece < pieces.end; piece++) host.claim(piece as PieceIndex)
    return { ...pieces, ...openEnded.streamFor(pieces, { signal, isRangeIgnored }) }
  }

  /** Reads one request. @returns the next, if the tracker knew of it early enough to open it before this one ended */
  async #read(request: Request, storing: Promise<void>[]): Promise<Request | undefined> {
    const { first, end, stream, done } = request
    const { requests } = this.#options
    const own: Promise<void>[] = []
    let next: Request | undefined
    try {
      await (request.opening ?? this.#open(request))
      await stream.skipTo(first as PieceIndex)
      // The lease may end before its requests: another node took the rest, because this one was late.
      for (let at = first; at < Math.min(end, requests.end); at++) {
        requests.reached(at, performance.now())
        if (next === undefined && requests.isNextDue) next = this.#openNext()
        own.push((await this.#readPiece(stream, at as PieceIndex)).stored)
      }
      requests.reached(Math.min(end, requests.end), performance.now())
      return next
    } catch (error) {
      if (next) this.#giveUp(next)
      throw error
    } finally {
      const stored = Promise.allSettled(own).then(() => this.#unclaim(request))
      storing.push(...own, stored)
      await done()
    }
  }

  #openNext(): Request | undefined {
    const next = this.#request()
    if (next === undefined) return undefined
    next.opening = this.#open(next)
    // It fails where it is read.
    next.opening.catch(() => undefined)
    return next
  }

  async #open({ stream }: Request): Promise<void> {
    const askedAtMs = performance.now()
    await stream.open()
    const atMs = performance.now()
    this.#options.requests.answered({ waitedMs: atMs - askedAtMs, atMs })
  }

  #giveUp(request: Request): undefined {
    request.done().catch(() => undefined)
    this.#unclaim(request)
  }

  #unclaim({ first, end }: MissingRun): void {
    for (let piece = first; piece < end; piece++) this.#options.host.unclaim(piece as PieceIndex)
  }

  /** Reads the next piece of the stream. @returns its way to the store */
  async #readPiece(stream: RegistryStream, piece: PieceIndex): Promise<{ stored: Promise<void> }> {
    const { host, signal, store } = this.#options
    const { layout, buffers } = host
    const length = pieceBytesAt(layout, piece)
    const buffer = await buffers.whenFree(layout.pieceBytes, signal)
    await stream.readPiece(buffer.bytes, length).catch((error: unknown) => {
      buffers.release(buffer)
      throw error
    })
    const stored = store(piece, buffer, length)
    // The write may fail long before the stream ends, where it is awaited.
    stored.catch(() => undefined)
    return { stored }
  }
}
