import type { FastifyContextConfig, FastifyInstance, FastifyRequest } from 'fastify'
import { parseBoundedJson } from '../../core/bounded-json.ts'
import { RefusedError } from '../errors.ts'

/** Nesting of a request: a heartbeat, its inventory, one of its swarms; doubled for future fields. */
const BODY_DEPTH_MAX = 6
/** Default bound of values in a body: a pull names 128 blobs with three values each. */
const JSON_VALUES_MAX = 2_048
/** Bodies from this size on are read one per turn of the event loop, so that other requests are answered in between. */
const LARGE_BODY_BYTES = 64 * 1024

const [COMMA, BRACKET, BRACE] = [...Buffer.from(',[{')]

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Bound of values in the route's body; default JSON_VALUES_MAX. */
    jsonValuesMax?: number
  }
}

/**
 * Reads JSON bodies within bounds of nesting and values. The route's `bodyLimit` bounds the length before any of it is
 * kept. The cost of parsing and checking depends more on the number of values than on bytes: 2 MiB of empty lists take
 * longer than 9 MiB of one text. So values are counted first, and large bodies take turns. Call it before routes are
 * added.
 */
export function readJsonBodies(app: FastifyInstance): void {
  let turn: Promise<unknown> = Promise.resolve()
  const read = async (request: FastifyRequest, body: Buffer): Promise<unknown> => {
    if (body.length >= LARGE_BODY_BYTES) {
      turn = turn.then(() => new Promise((resolve) => setImmediate(resolve)))
      await turn
    }
    const { jsonValuesMax = JSON_VALUES_MAX }: FastifyContextConfig = request.routeOptions.config
    if (hasMoreValues(body, jsonValuesMax)) {
      throw new RefusedError('BODY_TOO_LARGE', 'the request body has too many values')
    }
    return parsed(body.toString())
  }
  app.removeContentTypeParser('application/json')
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, read)
}

function parsed(text: string): unknown {
  try {
    return parseBoundedJson(text, { charsMax: text.length, depthMax: BODY_DEPTH_MAX })
  } catch (cause) {
    throw new RefusedError('BAD_JSON', 'the request body is not JSON within its bounds', { cause })
  }
}

/** Also counts characters inside a text that look like the beginning of a value. */
export function hasMoreValues(json: Buffer, valuesMax: number): boolean {
  let values = 1
  // Loops by index: an iterator over the bytes takes ten times as long.
  for (let at = 0; at < json.length && values <= valuesMax; at += 1) {
    const byte = json[at]
    if (byte === COMMA || byte === BRACKET || byte === BRACE) values += 1
  }
  return values > valuesMax
}
