import { ShoalError } from '../../core/errors.ts'

/** The caller may not change this machine's configuration: nothing was touched. */
export class AttachNotRootError extends ShoalError {
  readonly code = 'ATTACH_NOT_ROOT'
}

/** The runtime is not on this machine, or of a kind or version that cannot be attached: nothing was touched. */
export class AttachUnsupportedError extends ShoalError {
  readonly code = 'ATTACH_UNSUPPORTED'
}

/** A file is malformed, a link, somebody else's, or says something that an attachment would break: nothing was touched. */
export class AttachFileError extends ShoalError {
  readonly code = 'ATTACH_FILE'
}

/** A registry does not answer as it should through the attachment: all that was written was taken back. */
export class AttachCheckError extends ShoalError {
  readonly code = 'ATTACH_CHECK'
}

/** Somebody changed an attached file since, so that only a person can take Shoal's part back: nothing was touched. */
export class AttachEditedError extends ShoalError {
  readonly code = 'ATTACH_EDITED'
}

/** The person said no: nothing was touched. */
export class AttachDeclinedError extends ShoalError {
  readonly code = 'ATTACH_DECLINED'
}
