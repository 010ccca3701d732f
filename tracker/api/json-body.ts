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
    if (hasMoreValues(body, request.routeOptions.config.jsonValuesMax ?? JSON_VALUES_MAX)) {
      done(new RefusedError('BODY_TOO_LARGE', 'the request body has too many values'))
    } else parse(request, body.toString(), done)
  }
  const readInTurn: typeof read = (request, body, done) => {
    if (body.length < LARGE_BODY_BYTES) return read(request, body, done)
    turn = turn.then(() => new Promise((resolve) => setImmediate(resolve)))
    void turn.then(() => read(request, body, done))
  }
  app.removeContentTypeParser('application/json')
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, readInTurn)
}

/** What looks like the beginning of a value inside a text counts too. */
export function hasMoreValues(json: Buffer, valuesMax: number): boolean {
  let values = 1
  // An iterator over the bytes takes ten times as long.
  for (let at = 0; at < json.length && values <= valuesMax; at += 1) {
    const byte = json[at]
    if (byte === COMMA || byte === BRACKET || byte === BRACE) values += 1
  }
  return values > valuesMax
}
