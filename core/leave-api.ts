import { z } from 'zod'

/** `POST /v1/nodes/leave`: the caller gives its identity back. The tracker forgets it, and its certificates end at once. */
export const leaveRequest = z.strictObject({})
export const leaveResponse = z.object({})
