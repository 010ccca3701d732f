import { once } from 'node:events'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { TooManyRequestsError } from '../errors.ts'

/** Server-sent events (HTML Standard §9.2), for the page and for programs. */

/** Bound of the streams that are open, of all administrators together. */
export const EVENT_STREAMS_MAX = 32
/** When a reader may try again, if all streams are open. */
const RETRY_SECONDS = 5
/** A reader of events that takes nothing for this time is cut off. */
const READER_PATIENCE_MS = 30_000

interface Told {
  kind: string
  id: number
}

export class EventStreams {
  #open = 0

  /**
   * Answers with events until the reader goes, the source ends, or the caller's right does.
   * @param checkRight throws once the caller may no longer read
   * @throws TooManyRequestsError
   */
  async send(
    request: FastifyRequest,
    reply: FastifyReply,
    source: (signal: AbortSignal) => AsyncIterable<Told>,
    checkRight: () => void,
  ): Promise<void> {
    if (this.#open >= EVENT_STREAMS_MAX) throw new TooManyRequestsError(RETRY_SECONDS)
    this.#open += 1
    const gone = new AbortController()
    const { raw } = reply
    raw.once('close', () => gone.abort())
    try {
      reply.hijack()
      raw.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
      for await (const event of source(gone.signal)) {
        checkRight()
        const isTaken = raw.write(textOf(event))
        if (isTaken) continue
        const signal = AbortSignal.any([gone.signal, AbortSignal.timeout(READER_PATIENCE_MS)])
        await once(raw, 'drain', { signal })
      }
    } catch (err) {
      // The status is sent: all that can be said is the end.
      request.log.debug({ err }, 'a stream of events ended')
    } finally {
      this.#open -= 1
      gone.abort()
      raw.end()
    }
  }
}

/** `alive` is a comment, which readers pass over. */
function textOf({ kind, id, ...data }: Told): string {
  if (kind === 'alive') return ': alive\n\n'
  return `event: ${kind}\nid: ${id}\ndata: ${JSON.stringify(data)}\n\n`
}
