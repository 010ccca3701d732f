import { z } from 'zod'
import { byteSize } from '../../core/byte-size.ts'
import { readOwnFile, replaceFile } from '../../core/data-folder.ts'
import type { Digest } from '../../core/digest.ts'
import { digestSchema } from '../../core/tracker-api.ts'
import { CachePinsError } from '../errors.ts'

/** Bound of pins, of images or blobs. */
export const PINS_MAX = 1024
/** Bound of blobs in all pins together: a hundred images. A larger file is not read. */
export const PINNED_BLOBS_MAX = 16_384
/** The longest name: registry, repository (255), tag (128) and digest. */
const NAME_CHARS_MAX = 1024

const pinSchema = z.strictObject({
  name: z.string().min(1).max(NAME_CHARS_MAX),
  blobs: z.array(z.strictObject({ digest: digestSchema, bytes: z.int().nonnegative() })).min(1),
})
const fileSchema = z.strictObject({ version: z.literal(1), pins: z.array(pinSchema).max(PINS_MAX) })

/** Blobs that are never evicted, under the name that an operator gave: an image, or a digest. */
export interface Pin {
  name: string
  /** With their whole lengths; 0 where a blob's length is not known. */
  blobs: { digest: Digest; bytes: number }[]
}

/** What operators pinned. The file is written before a pin counts, so that it outlives whatever comes next. */
export class Pins {
  readonly #path: string
  readonly #pins = new Map<string, Pin>()
  #bytes = new Map<Digest, number>()

  /** Begins without pins where the file is damaged: the cache goes on, and `isDamaged` says so. */
  readonly isDamaged: boolean = false

  constructor(path: string) {
    this.#path = path
    try {
      const text = readOwnFile(path)
      const { pins } = text === undefined ? { pins: [] } : fileSchema.parse(JSON.parse(text))
      for (const pin of pins) this.#pins.set(pin.name, pin)
    } catch {
      this.isDamaged = true
    }
    this.#count()
  }

  has(digest: Digest): boolean {
    return this.#bytes.has(digest)
  }

  list(): Pin[] {
    return [...this.#pins.values()]
  }

  /** Of all pinned blobs, each once, whole. */
  get bytes(): number {
    return sumOf(this.#bytes)
  }

  /**
   * Another pin of that name is replaced.
   * @param bytesMax what all pins may hold together
   * @throws CachePinsError when they would hold more, and nothing is changed; of writing the file
   */
  add(pin: Pin, bytesMax: number): void {
    const pins = [...this.list().filter(({ name }) => name !== pin.name), pin]
    const bytes = bytesOf(pins)
    if (pins.length > PINS_MAX || bytes.size > PINNED_BLOBS_MAX)
      throw new CachePinsError(`there are too many pins: at most ${PINS_MAX} with ${PINNED_BLOBS_MAX} blobs`)
    if (sumOf(bytes) > bytesMax) {
      const why = `all pins together would hold ${byteSize(sumOf(bytes))}, and cacheBytesMax is ${byteSize(bytesMax)}`
      throw new CachePinsError(`no room to pin ${pin.name}: ${why}`)
    }
    this.#replace(pins)
  }

  /** @returns false if there is no such pin @throws of writing the file */
  remove(name: string): boolean {
    if (!this.#pins.has(name)) return false
    this.#replace(this.list().filter((pin) => pin.name !== name))
    return true
  }

  #replace(pins: Pin[]): void {
    replaceFile(this.#path, JSON.stringify({ version: 1, pins } satisfies z.input<typeof fileSchema>))
    this.#pins.clear()
    for (const pin of pins) this.#pins.set(pin.name, pin)
    this.#count()
  }

  #count(): void {
    this.#bytes = bytesOf(this.list())
  }
}

function bytesOf(pins: readonly Pin[]): Map<Digest, number> {
  return new Map(pins.flatMap(({ blobs }) => blobs.map(({ digest, bytes }) => [digest, bytes] as const)))
}

function sumOf(bytes: ReadonlyMap<Digest, number>): number {
  return [...bytes.values()].reduce((sum, one) => sum + one, 0)
}
