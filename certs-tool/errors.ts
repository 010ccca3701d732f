import { ShoalError } from '../core/errors.ts'

/** The output file exists already: nothing was written. */
export class FileExistsError extends ShoalError {
  readonly code = 'FILE_EXISTS'
}

/** A file cannot be written or read; nothing else was done. */
export class FileAccessError extends ShoalError {
  readonly code = 'FILE_ACCESS'
}

/** A file has no readable certificate. */
export class NoCertificateError extends ShoalError {
  readonly code = 'NO_CERTIFICATE'
}

/** A certificate's extension is malformed: the file is not explained. */
export class UnreadableExtensionError extends ShoalError {
  readonly code = 'UNREADABLE_EXTENSION'
}

/** The tracker does not know what a join string needs: its own address, or its authority. */
export class JoinAddressError extends ShoalError {
  readonly code = 'JOIN_ADDRESS'
}

/** A tracker is set up here already: nothing was changed. */
export class TrackerExistsError extends ShoalError {
  readonly code = 'TRACKER_EXISTS'
}

/** The tracker's admin API cannot be reached, or something else answers. */
export class AdminUnavailableError extends ShoalError {
  readonly code = 'ADMIN_UNAVAILABLE'
}

/** The tracker's admin API refused; `trackerCode` is its reason. */
export class AdminRefusedError extends ShoalError {
  readonly code = 'ADMIN_REFUSED'
  readonly trackerCode: string

  constructor(message: string, trackerCode: string, hint?: string) {
    super(message, hint === undefined ? {} : { hint })
    this.trackerCode = trackerCode
  }
}
