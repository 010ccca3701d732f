import { setTimeout as wait } from 'node:timers/promises'
import type { Outside } from '../core/command.ts'

/** A page that is drawn again and again: on a terminal in place and without flicker, elsewhere one after the other. */

/** Between two pages. */
export const WATCH_INTERVAL_MS = 1_000

/** A screen of its own, without cursor, and lines that a narrow terminal cuts instead of wrapping. */
const ENTER = '\u001b[?1049h\u001b[?25l\u001b[?7l'
const LEAVE = '\u001b[?7h\u001b[?25h\u001b[?1049l'
/** A terminal that knows it shows the frame at once (DEC private mode 2026); others ignore it. */
const BEGIN_FRAME = '\u001b[?2026h\u001b[H'
const END_FRAME = '\u001b[J\u001b[?2026l'
const CLEAR_REST_OF_LINE = '\u001b[K'

/**
 * Draws until the process is told to stop.
 * @param page makes the lines anew; called again when the terminal changes its size
 */
export async function watch(outside: Outside, page: () => Promise<string[]>): Promise<void> {
  const stopped = outside.stopped()
  const { output } = outside
  if (!output.isTerminal) return watchPlainly(outside, stopped, page)
  output.write(ENTER)
  let resized = new AbortController()
  const stopListening = output.onResize(() => resized.abort())
  try {
    while (!stopped.aborted) {
      resized = new AbortController()
      output.write(frame(await page(), output.rows))
      const woken = AbortSignal.any([stopped, resized.signal])
      await wait(WATCH_INTERVAL_MS, undefined, { signal: woken }).catch(() => undefined)
    }
  } finally {
    stopListening()
    output.write(LEAVE)
  }
}

/** One line less than the terminal has: a full last line would scroll. */
export function frame(lines: readonly string[], rows: number): string {
  const room = Math.max(1, rows - 1)
  const shown =
    lines.length <= room ? lines : [...lines.slice(0, room - 1), `… ${lines.length - room + 1} more lines`]
  return `${BEGIN_FRAME}${shown.map((line) => `${line}${CLEAR_REST_OF_LINE}\r\n`).join('')}${END_FRAME}`
}

async function watchPlainly(
  { output }: Outside,
  stopped: AbortSignal,
  page: () => Promise<string[]>,
): Promise<void> {
  while (!stopped.aborted) {
    output.write(`${(await page()).join('\n')}\n`)
    await wait(WATCH_INTERVAL_MS, undefined, { signal: stopped }).catch(() => undefined)
  }
}
