import type { IncomingMessage, ServerResponse } from 'node:http'

/** A request to the odd registries, and what became of it. */
export interface OddRequest {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly port: number
  readonly isPlain: boolean
  /** Of the body. */
  sentBytes: number
  /** Set for a request of a layer. */
  digest: string | undefined
  /** Where it was not written through `response`. */
  status?: number
}
