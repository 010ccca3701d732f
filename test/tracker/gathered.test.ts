import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { StoreConflictError, StoreUnavailableError } from '../../tracker/errors.ts'
import { GATHERED_AT_ONCE_MAX, GATHERED_MAX, Gathered } from '../../tracker/store/postgres/gathered.ts'

describe('questions that are asked together', () => {
  it('are one statement if they come in one turn, or while others are on their way', async () => {
    const groups: number[][] = []
    const answered = Promise.withResolvers<void>()
    const gathered = new Gathered(async (questions: number[]) => {
      groups.push(questions)
      await answered.promise
      return questions.map((question) => question * 2)
    })
    const first = Promise.all([1, 2, 3].map((question) => gathered.ask(question)))
    await turn()
    const later: Promise<number>[] = []
    for (const question of [4, 5, 6, 7]) {
      later.push(gathered.ask(question))
      await turn()
    }
    answered.resolve()
    expect(await first).toEqual([2, 4, 6])
    expect(await Promise.all(later)).toEqual([8, 10, 12, 14])
    expect(groups).toEqual([[1, 2, 3], [4], [5, 6, 7]])
  })

  it('are never more than the bounds', async () => {
    let running = 0
    let runningMost = 0
    let largest = 0
    const gathered = new Gathered(async (questions: number[]) => {
      running += 1
      runningMost = Math.max(runningMost, running)
      largest = Math.max(largest, questions.length)
      // Until the next ones have begun.
      for (let turns = 0; turns <= GATHERED_AT_ONCE_MAX; turns += 1) await turn()
      running -= 1
      return questions
    })
    const all = Array.from({ length: 5 * GATHERED_MAX }, (_, index) => index)
    expect(await Promise.all(all.map((question) => gathered.ask(question)))).toEqual(all)
    expect([largest, runningMost]).toEqual([GATHERED_MAX, GATHERED_AT_ONCE_MAX])
  })

  it('fail alone: one that the database refuses spoils no other', async () => {
    const gathered = new Gathered(async (questions: string[]) => {
      if (questions.includes('bad')) throw new StoreConflictError('bad')
      return questions
    })
    const results = await Promise.allSettled(
      ['good', 'bad', 'fine'].map((question) => gathered.ask(question)),
    )
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  })

  it('are not asked again when the database did not answer: it may have done it', async () => {
    let asked = 0
    const gathered = new Gathered(async (): Promise<string[]> => {
      asked += 1
      throw new StoreUnavailableError('away')
    })
    const results = await Promise.allSettled(['a', 'b'].map((question) => gathered.ask(question)))
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    expect(asked).toBe(1)
  })
})
