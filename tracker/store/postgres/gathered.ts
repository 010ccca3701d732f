import { StoreUnavailableError } from '../../errors.ts'

/** Bound of questions to the database that are asked in one statement. */
export const GATHERED_MAX = 128
/** Bound of such statements of one kind under way; questions that come meanwhile are asked together. */
export const GATHERED_AT_ONCE_MAX = 2

interface Waiting<Question, Answer> {
  question: Question
  resolve: (answer: Answer) => void
  reject: (error: unknown) => void
}

/**
 * Asks questions of one kind together: those that came in one turn of the event loop, or while others were on their way. A
 * statement costs its tracker and the database more than its rows do. A question is never answered by a statement that began
 * before it came.
 */
export class Gathered<Question, Answer> {
  readonly #ask: (questions: Question[]) => Promise<Answer[]>
  #waiting: Waiting<Question, Answer>[] = []
  #running = 0
  #isDue = false

  /** @param ask one statement, all or nothing; answers in the order of the questions */
  constructor(ask: (questions: Question[]) => Promise<Answer[]>) {
    this.#ask = ask
  }

  ask(question: Question): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    this.#waiting.push({ question, resolve, reject })
    this.#begin()
    return promise
  }

  #begin(): void {
    if (this.#isDue || this.#waiting.length === 0 || this.#running >= GATHERED_AT_ONCE_MAX) return
    this.#isDue = true
    setImmediate(() => {
      this.#isDue = false
      void this.#run(this.#waiting.splice(0, GATHERED_MAX))
      this.#begin()
    })
  }

  async #run(group: Waiting<Question, Answer>[]): Promise<void> {
    this.#running += 1
    try {
      const answers = await this.#ask(group.map(({ question }) => question))
      for (const [index, { resolve }] of group.entries()) resolve(answers[index]!)
    } catch (error) {
      // One question must not fail the others. What the database may have done although it did not say so is not done again.
      const isAlone = group.length === 1 || error instanceof StoreUnavailableError
      if (isAlone) for (const { reject } of group) reject(error)
      else await Promise.all(group.map((one) => this.#run([one])))
    } finally {
      this.#running -= 1
      this.#begin()
    }
  }
}
