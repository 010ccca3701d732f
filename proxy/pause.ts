/** Whether the proxy stands aside. It does not know who says so: an operator or the tracker. */
export interface Pausing {
  /** Looked at for every connection and request. */
  readonly isPaused: boolean
  /** Calls back each time that it begins. */
  whenPaused(begin: () => void): void
}

export const NEVER_PAUSED: Pausing = { isPaused: false, whenPaused: () => undefined }
