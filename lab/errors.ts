import { ShoalError } from '../core/errors.ts'

/** The machine lacks something that the lab needs: install what the hint names. */
export class LabRequirementError extends ShoalError {
  readonly code = 'LAB_REQUIREMENT'
}

/** A command that the lab ran failed or took too long: the message has its last lines. */
export class LabCommandError extends ShoalError {
  readonly code = 'LAB_COMMAND'
}

/** A part does not answer, or did not become ready in time: ask again, or close the lab. */
export class LabPartError extends ShoalError {
  readonly code = 'LAB_PART'
}

/** A part ended that nobody stopped: do not wait for it. */
export class LabPartEndedError extends ShoalError {
  readonly code = 'LAB_PART_ENDED'
}

/** The lab is being closed: stop what you are doing. */
export class LabClosedError extends ShoalError {
  readonly code = 'LAB_CLOSED'
}
