import type { FastifyContextConfig, FastifyInstance, FastifyRequest } from 'fastify'
import { parseBoundedJson } from '../../core/bounded-json.ts'
import { RefusedError } from '../errors.ts'

/** Nesting of a request: a heartbeat, its inventory, one of its swarms; twice that for what is to come. */
const BODY_DEPTH_MAX = 6
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
 * Reads JSON bodies within bounds of nesting and of values; of length the route's `bodyLimit` is one, checked before any
 * of it is kept. What parsing and checking cost depends on the number of values more than on bytes: 2 MiB of empty lists
 * take longer than 9 MiB of one text. So they are counted first, and large bodies take turns. To be called before routes
 * are added.
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
