import { ShoalError } from '../core/errors.ts'

/** No node can be asked over its local API: print message and hint. */
export class NodeDownError extends ShoalError {
  readonly code = 'NODE_DOWN'
}

/** This user may not open the node's socket: print message and hint. */
export class NodeDeniedError extends ShoalError {
  readonly code = 'NODE_DENIED'
}

/** Something answers at the node's socket, but not as a node of this version does: print message and hint. */
export class NodeAnswerError extends ShoalError {
  readonly code = 'NODE_ANSWER'
}

/** The node refused a call, with a code of its own: print message and hint. */
export class NodeRefusedError extends ShoalError {
  readonly code: string

  constructor({ code, message, hint }: { code: string; message: string; hint?: string | undefined }) {
    super(message, hint === undefined ? {} : { hint })
    this.code = code
  }
}
