import { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { ShoalError } from './errors.ts'

/**
 * Shares a pool's connections between requests that anybody on this machine may cause. Invariants: the pool never has
 * more requests than connections, so that requests wait here, where deadlines apply. While a request waits, one that its
 * own client holds up gives its place away.
 */

/** All connections to a registry are taken, so the request was not sent. This says nothing about the registry. */
export class RegistryBusyError extends ShoalError {
  readonly code = 'REGISTRY_BUSY'
}

/** While others waited, a client did not read its answer or did not send its request: its connection is cut. */
export class TransferStalledError extends ShoalError {
  readonly code = 'TRANSFER_STALLED'
}

/** Bound of requests that wait for one pool: as many as the proxy has connections. */
export const POOL_WAITING_MAX = 1024
/** Total time an answer may wait for its reader until `READ_STEP_BYTES_MIN` more of it are read. */
export const UNREAD_MS_MAX = 1_000
/** Bytes that count as progress of a reader. With fewer, a few bytes now and then would hold a connection for ever. */
const READ_STEP_BYTES_MIN = 256 * 1024
/** How often waiting requests look for a stalled transfer. */
const LOOK_MS = 200

export interface PoolBounds {
  /** The number of the pool's connections. */
  placesMax: number
  /** How long a request may wait for a place. */
  waitMs: number
  /** How long a registry, or the sender of a body, may be silent while others wait. */
  silentMs: number
}

/** Dispatch options as set by `request` and `forward`. */
type Options = Dispatcher.DispatchOptions & { signal?: unknown }

/** For `compose`. Requests without a place end with RegistryBusyError, those that lose theirs with TransferStalledError. */
export function fairly(bounds: PoolBounds): Dispatcher.DispatcherComposeInterceptor {
  const places = new Places(bounds)
  return (dispatch) => (options: Options, handler) => {
    const transfer = new Transfer(handler, options.body)
    places.enter(transfer, options.signal, () => dispatch(options, transfer))
    return true
  }
}

interface Waiting {
  begin: () => void
  refuse: (error: ShoalError) => void
}

class Places {
  readonly #bounds: PoolBounds
  readonly #held = new Set<Transfer>()
  /** In the order of arrival. */
  readonly #waiting = new Set<Waiting>()
  #looking: NodeJS.Timeout | undefined

  constructor(bounds: PoolBounds) {
    this.#bounds = bounds
  }

  enter(transfer: Transfer, signal: unknown, dispatch: () => void): void {
    const begin = () => {
      this.#held.add(transfer)
      transfer.onEnd = () => this.#leave(transfer)
      dispatch()
    }
    if (this.#held.size < this.#bounds.placesMax) begin()
    else if (this.#waiting.size >= POOL_WAITING_MAX)
      transfer.refuse(new RegistryBusyError('too many requests'))
    else this.#wait({ begin, refuse: (error) => transfer.refuse(error) }, signal)
  }

  #wait(request: Waiting, signal: unknown): void {
    const gone = signal instanceof AbortSignal ? signal : undefined
    const settle = (then: () => void) => {
      clearTimeout(timer)
      gone?.removeEventListener('abort', giveUp)
      this.#waiting.delete(waiting)
      if (this.#waiting.size === 0) this.#stopLooking()
      then()
    }
    const waiting: Waiting = {
      begin: () => settle(request.begin),
      refuse: (error) => settle(() => request.refuse(error)),
    }
    const giveUp = () =>
      waiting.refuse(new RegistryBusyError('no connection was free in time', { cause: gone?.reason }))
    const timer = setTimeout(giveUp, this.#bounds.waitMs)
    gone?.addEventListener('abort', giveUp)
    this.#waiting.add(waiting)
    this.#looking ??= setInterval(() => this.#makeRoom(), LOOK_MS)
    this.#makeRoom()
    if (gone?.aborted) giveUp()
  }

  #leave(transfer: Transfer): void {
    this.#held.delete(transfer)
    // Admit the next one later: a request that fails at its start would admit it recursively, a thousand deep.
    queueMicrotask(() => this.#admit())
  }

  #admit(): void {
    for (const next of this.#waiting) {
      if (this.#held.size >= this.#bounds.placesMax) return
      next.begin()
    }
  }

  #stopLooking(): void {
    clearInterval(this.#looking)
    this.#looking = undefined
  }

  /** Cuts the transfers that have stalled longest, one for each waiting request. */
  #makeRoom(): void {
    const nowMs = performance.now()
    const heldUp = [...this.#held].filter((transfer) => transfer.isHeldUp(nowMs, this.#bounds.silentMs))
    heldUp.sort((one, other) => one.movedAtMs - other.movedAtMs)
    for (const transfer of heldUp.slice(0, this.#waiting.size)) {
      transfer.cut(new TransferStalledError('the transfer stood still while others waited'))
    }
  }
}

/** One request and its answer: passes everything on, and notes progress. */
class Transfer implements Dispatcher.DispatchHandler {
  onEnd = () => {}
  /** When the answer last progressed by `READ_STEP_BYTES_MIN`. */
  movedAtMs = performance.now()
  readonly #handler: Dispatcher.DispatchHandler
  readonly #body: Readable | undefined
  #controller: Dispatcher.DispatchController | undefined
  #heardAtMs = this.movedAtMs
  #stepBytes = 0
  #unreadMs = 0
  #pausedAtMs: number | undefined

  constructor(handler: Dispatcher.DispatchHandler, body: unknown) {
    this.#handler = handler
    this.#body = body instanceof Readable ? body : undefined
  }

  /** Ends a request that never started. */
  refuse(error: ShoalError): void {
    // Nothing uses the controller of a request without a connection; undici's own interceptors do the same.
    this.#handler.onResponseError?.(undefined as never, error)
  }

  cut(error: ShoalError): void {
    this.#controller?.abort(error)
  }

  /** Whether its reader, the sender of its body, or a silent registry holds it up. A registry that takes in a body does not. */
  isHeldUp(nowMs: number, silentMs: number): boolean {
    if (this.#controller === undefined) return false
    if (this.#pausedAtMs !== undefined) return this.#unreadMs + nowMs - this.#pausedAtMs >= UNREAD_MS_MAX
    return !this.#body?.readableEnded && nowMs - this.#heardAtMs >= silentMs
  }

  onRequestStart(controller: Dispatcher.DispatchController, context: unknown): void {
    this.#controller = controller
    this.#hear()
    this.#body?.on('data', () => this.#hear())
    this.#handler.onRequestStart?.(controller, context)
  }

  onResponseStart(...given: Parameters<NonNullable<Dispatcher.DispatchHandler['onResponseStart']>>): void {
    this.#hear()
    this.#handler.onResponseStart?.(...given)
    this.#notePause(given[0])
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#hear()
    this.#step(chunk.length)
    this.#handler.onResponseData?.(controller, chunk)
    this.#notePause(controller)
  }

  onResponseEnd(...given: Parameters<NonNullable<Dispatcher.DispatchHandler['onResponseEnd']>>): void {
    this.onEnd()
    this.#handler.onResponseEnd?.(...given)
  }

  onResponseError(...given: Parameters<NonNullable<Dispatcher.DispatchHandler['onResponseError']>>): void {
    this.onEnd()
    this.#handler.onResponseError?.(...given)
  }

  #hear(): void {
    const nowMs = performance.now()
    this.#heardAtMs = nowMs
    if (this.#pausedAtMs !== undefined) this.#unreadMs += nowMs - this.#pausedAtMs
    this.#pausedAtMs = undefined
  }

  #notePause(controller: Dispatcher.DispatchController): void {
    if (controller.paused) this.#pausedAtMs = this.#heardAtMs
  }

  #step(bytes: number): void {
    this.#stepBytes += bytes
    if (this.#stepBytes < READ_STEP_BYTES_MIN) return
    this.#stepBytes = 0
    this.#unreadMs = 0
    this.movedAtMs = this.#heardAtMs
  }
}
