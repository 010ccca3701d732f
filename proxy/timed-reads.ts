import type { BytesBySource } from '../client/index.ts'

/** Told how long the client waited for each chunk, and where that came from. */
export interface WaitsTold {
  waited(source: keyof BytesBySource, ms: number): void
}

const SOURCES = ['peers', 'registry', 'cache'] as const satisfies (keyof BytesBySource)[]

/**
 * The same chunks. A wait begins when the reader asks for a chunk, so the time in which the client takes the one before does
 * not count.
 * @param sources of the reader; the one that has grown is the chunk's
 */
export async function* timed(
  chunks: AsyncIterable<Uint8Array>,
  sources: BytesBySource,
  told: WaitsTold | undefined,
): AsyncGenerator<Uint8Array> {
  let before = { ...sources }
  let askedAtMs = performance.now()
  for await (const chunk of chunks) {
    const grown = SOURCES.find((source) => sources[source] > before[source])
    if (grown !== undefined) told?.waited(grown, performance.now() - askedAtMs)
    before = { ...sources }
    yield chunk
    askedAtMs = performance.now()
  }
}
