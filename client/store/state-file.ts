import { replaceFile, replaceFileLater } from '../../core/data-folder.ts'

/**
 * Keeps one small file up to date with something that changes. Writing it takes as long as the disk wants: on ext4 the
 * rename waits for the journal, under gigabytes of new data for seconds. So it runs off the event loop, one write at a
 * time; a change meanwhile is written after it. Invariant: no write begins after `saveLast` or `end`, so that an older
 * state never replaces a newer one, and nothing is written into a folder that is being removed.
 */
export class StateFile {
  readonly #path: string
  readonly #text: (isLast: boolean) => string
  #isDirty = true
  #isEnded = false
  #isDue = false
  #writing: Promise<void> | undefined

  /** @param text the contents, as they are now; `isLast` when the node ends */
  constructor(path: string, text: (isLast: boolean) => string) {
    this.#path = path
    this.#text = text
  }

  /** The contents have changed: the next `save` writes them. */
  changed(): void {
    this.#isDirty = true
  }

  /** Writes the contents if they changed. Never rejects: what a full disk refuses is written with the next save. */
  save(): Promise<void> {
    if (!this.#isDirty || this.#isEnded) return this.#writing ?? Promise.resolve()
    this.#isDue = true
    this.#writing ??= this.#writeDue()
    return this.#writing
  }

  async #writeDue(): Promise<void> {
    while (this.#isDue && !this.#isEnded) {
      this.#isDue = false
      this.#isDirty = false
      await replaceFileLater(this.#path, this.#text(false)).catch(() => {
        // The previous state stays. It names fewer pieces, and none that is missing.
        this.#isDirty = true
      })
    }
    this.#writing = undefined
  }

  /**
   * Writes the last contents and ends: at once when nothing is being written.
   * @param isForced although nothing changed: the last contents differ
   */
  async saveLast(isForced = false): Promise<void> {
    while (this.#writing) await this.#writing
    const isDue = (this.#isDirty || isForced) && !this.#isEnded
    this.#isEnded = true
    if (!isDue) return
    try {
      replaceFile(this.#path, this.#text(true))
    } catch {
      // As above; there is no next save.
    }
  }

  /** Nothing is written any more. Resolves when the write in flight has ended. */
  async end(): Promise<void> {
    this.#isEnded = true
    await this.#writing
  }
}
