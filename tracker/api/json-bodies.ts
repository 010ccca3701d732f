import type { FastifyInstance } from 'fastify'
import { parseBoundedJson } from '../../core/bounded-json.ts'
import { RefusedError } from '../errors.ts'

/** Nesting of a request: a heartbeat, its inventory, one of its swarms; twice that for what is to come. */
const BODY_DEPTH_MAX = 6

/**
 * Reads JSON bodies within bounds of nesting; of length the route's `bodyLimit` is one, checked before any of it is kept.
 * To be called before routes are added.
 */
export function readJsonBodies(app: FastifyInstance): void {
  app.removeContentTypeParser('application/json')
  app.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (_request, text, done) => {
    try {
      done(null, parseBoundedJson(text, { charsMax: text.length, depthMax: BODY_DEPTH_MAX }))
    } catch (cause) {
      done(new RefusedError('BAD_JSON', 'the request body is not JSON within its bounds', { cause }))
    }
  })
}
