import type { FastifyBodyParser, FastifyInstance } from 'fastify'
import { RefusedError } from '../errors.ts'

/** Values of a body where a route sets no other bound: a pull names 128 blobs of three each. */
const JSON_VALUES_MAX = 2_048
/** Bodies from this size on are read one per turn of the event loop: what waits between two of them is answered. */
const LARGE_BODY_BYTES = 64 * 1024

const [COMMA, BRACKET, BRACE] = [...Buffer.from(',[{')]

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Values that the route's body may have; absent: JSON_VALUES_MAX. */
    jsonValuesMax?: number
  }
}

/**
 * Reads JSON bodies. What parsing and checking cost depends on the number of values more than on bytes: 2 MiB of empty
 * lists take longer than 9 MiB of one text. So they are counted first, and large bodies take turns.
 */
export function readJsonBodies(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  let turn: Promise<unknown> = Promise.resolve()
  const read: FastifyBodyParser<Buffer> = (request, body, done) => {
    if (valuesIn(body) > (request.routeOptions.config.jsonValuesMax ?? JSON_VALUES_MAX)) {
      return done(new RefusedError('BODY_TOO_LARGE', 'the request body has too many values'))
    }
    if (body.length < LARGE_BODY_BYTES) return parse(request, body.toString(), done)
    turn = turn.then(() => new Promise((resolve) => setImmediate(resolve)))
    void turn.then(() => parse(request, body.toString(), done))
  }
  app.removeContentTypeParser('application/json')
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, read)
}

/** At least as many as there are: what looks like the begin of a value in a text counts too. */
export function valuesIn(json: Buffer): number {
  let values = 1
  for (const byte of json) if (byte === COMMA || byte === BRACKET || byte === BRACE) values += 1
  return values
}
