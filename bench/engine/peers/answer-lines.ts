import { createInterface } from 'node:readline'

/** The other side of `startLineProcess`: what a peer written for Node does with the questions it is asked. */
export type Answers = Record<string, (question: never) => Promise<object>>

/** Answers one question after the other until standard input ends; then the process ends. */
export async function answerLines(answers: Answers, close: () => Promise<void>): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    const question = JSON.parse(line) as { do: string }
    const answer = await answers[question.do]!(question as never).catch((error: Error) => ({
      error: error.stack,
    }))
    process.stdout.write(`${JSON.stringify(answer)}\n`)
  }
  await close()
  process.exit()
}
