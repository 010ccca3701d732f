/** Whether the proxy stands aside: whoever says so (an operator, the tracker) is outside this room. */
export interface Pausing {
  /** Looked at for every connection and request. */
  readonly isPaused: boolean
  /** Calls back each time that it begins. */
  whenPaused(begin: () => void): void
}

export const NEVER_PAUSED: Pausing = { isPaused: false, whenPaused: () => undefined }
