import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'

/** The other side of `startLineProcess`: the answers of a peer that runs on Node. */
export type Answers = Record<string, (question: never) => Promise<object>>

/** Time for an orderly end; the caller waits longer. */
const CLOSE_PATIENCE_MS = 3_000

/** Answers one question after the other until standard input ends. Then ends the process, answered or not. */
export async function answerLines(answers: Answers, close: () => Promise<void>): Promise<void> {
  const lines = createInterface({ input: process.stdin })
  lines.once('close', () => {
    void Promise.race([close(), delay(CLOSE_PATIENCE_MS)]).finally(() => process.exit())
  })
  for await (const line of lines) {
    const question = JSON.parse(line) as { do: string }
    const answer = await answers[question.do]!(question as never).catch((error: Error) => ({
      error: error.stack,
    }))
    process.stdout.write(`${JSON.stringify(answer)}\n`)
  }
}
