import type { RegistryHabits } from '../core/registry-habits.ts'
import type { ResponseWatcher } from './upstream/forward.ts'
import type { Verdict } from './verdict.ts'

/** How long a pull waits for the registry's word. After that the client's own request goes to the registry, as without Shoal. */
export const LATE_MS = 400
/**
 * A registry's word that takes longer does not make the waiting blob shared: the steps that follow may take as long again, and
 * the client's own request is under way.
 */
export const SHARING_WORD_MS_MAX = 1_000

/**
 * The registry has not said yet whether a caller may have a blob, and the caller's own request goes to the registry beside the
 * question. Whichever is answered first serves him. The registry counts as late, and the next caller is not made to wait, only
 * if its word came more than LATE_MS after it would have answered him directly, or after more than SHARING_WORD_MS_MAX:
 * a registry or a machine that is slow at everything is as slow without Shoal.
 */
export class LateWord {
  readonly refusal = 'registry_late'
  /** Settles with the word, and never rejects: undefined if there is none and the client does not vouch. */
  readonly verdict: Promise<Verdict | undefined>
  readonly #habits: RegistryHabits
  readonly #askedAtMs: number
  readonly #wasAwaited: boolean
  readonly #passedAtMs = performance.now()
  /** How long the registry took to begin its answer to the caller's own request. */
  #directMs: number | undefined
  #isHere = false
  readonly #shared = new AbortController()

  /** @param asked `atMs`: when the question went out, by `performance.now()`. `patienceMs`: how long the caller waited for it alone */
  constructor(word: Promise<Verdict>, asked: { habits: RegistryHabits; atMs: number; patienceMs: number }) {
    this.#habits = asked.habits
    this.#askedAtMs = asked.atMs
    this.#wasAwaited = asked.patienceMs > 0
    this.verdict = word.catch(() => undefined).then((verdict) => this.#came(verdict))
  }

  /** Aborts when the word is there and the caller's own request is needed no more, unless its answer began. */
  get shared(): AbortSignal {
    return this.#shared.signal
  }

  /** Watches the answer to the caller's own request. */
  get direct(): ResponseWatcher {
    return { onStart: () => this.#begins(), onData: () => undefined, onEnd: () => undefined }
  }

  #begins(): void {
    this.#directMs = performance.now() - this.#passedAtMs
    if (this.#wasAwaited && !this.#isHere) this.#habits.note('late')
  }

  #came(verdict: Verdict | undefined): Verdict | undefined {
    this.#isHere = true
    const wordMs = performance.now() - this.#askedAtMs
    const isInTime = wordMs <= SHARING_WORD_MS_MAX
    if (!isInTime || wordMs > (this.#directMs ?? wordMs) + LATE_MS) this.#habits.note('late')
    else if (verdict !== undefined) this.#habits.forget('late')
    if (verdict === undefined || verdict.refusal !== undefined) return verdict
    if (isInTime || verdict.acceptedAtMs === undefined) this.#shared.abort(new Error('it is shared'))
    return verdict
  }
}
