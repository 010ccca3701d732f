/** A slow step counts until this many others of its swarm were quicker. */
const ANSWERS_REMEMBERED = 16

/** How long this tracker takes lately for a step on a swarm, from the call to the saved change. Not stored. */
export class AnswerTimes {
  readonly #lastMs: number[] = []

  note(ms: number): void {
    this.#lastMs.push(ms)
    if (this.#lastMs.length > ANSWERS_REMEMBERED) this.#lastMs.shift()
  }

  /** 0 before the first. */
  get longestMs(): number {
    return Math.max(0, ...this.#lastMs)
  }
}
