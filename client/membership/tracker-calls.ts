import { reasonOf, ShoalError } from '../../core/errors.ts'
import type { TrackerStatus } from '../client.ts'
import { TrackerRefusedError } from '../errors.ts'

/** What this node's calls tell of the tracker. */
export class TrackerCalls {
  readonly #calls = { answered: 0, refused: 0, failed: 0 }
  #state: TrackerStatus['state'] = 'unknown'
  #sinceMs = Date.now()
  #lastError: TrackerStatus['lastError']

  answered(): void {
    this.#calls.answered += 1
    this.#is('connected')
  }

  /** A refusal is an answer too. */
  failed(error: unknown): void {
    const isRefusal = error instanceof TrackerRefusedError
    this.#calls[isRefusal ? 'refused' : 'failed'] += 1
    this.#is(isRefusal ? 'connected' : 'silent')
    const code = error instanceof ShoalError ? error.code : 'UNEXPECTED'
    this.#lastError = { code, reason: reasonOf(error), atMs: Date.now() }
  }

  status(): TrackerStatus {
    return {
      state: this.#state,
      sinceMs: this.#sinceMs,
      ...(this.#lastError && { lastError: this.#lastError }),
      calls: { ...this.#calls },
    }
  }

  #is(state: TrackerStatus['state']): void {
    if (this.#state === state) return
    this.#state = state
    this.#sinceMs = Date.now()
  }
}
