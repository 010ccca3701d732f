import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import { encodeBencode } from '../../core/bencode.ts'
import { Defects } from '../../core/defects.ts'
import { ShoalError } from '../../core/errors.ts'
import { type RefusalCode, RefusedError, STATUS_BY_CODE, TooManyRequestsError } from '../errors.ts'
import type { TrackerMetrics } from '../metrics.ts'

/**
 * The one place where an error becomes an answer: `{"error":{"code","message"}}` with the status of its code. An
 * unexpected error costs this request: it is logged and counted as a defect, and its text does not leave the tracker.
 */
export function answerErrors(
  app: Pick<FastifyInstance, 'setErrorHandler' | 'setNotFoundHandler'>,
  log: Logger,
  metrics: TrackerMetrics,
): void {
  const defects = new Defects({ log, count: metrics.countDefect })
  const answer = (request: FastifyRequest, reply: FastifyReply, code: RefusalCode, message: string) => {
    noteRefusal(request, code, { log, metrics })
    return reply.code(STATUS_BY_CODE[code]).send({ error: { code, message } })
  }
  app.setNotFoundHandler((request, reply) =>
    answer(request, reply, 'ROUTE_UNKNOWN', 'there is no such route'),
  )
  app.setErrorHandler((error: Error, request, reply) => {
    const { code, message } = refusalOf(error) ?? noteDefect(request, error, defects)
    if (error instanceof TooManyRequestsError) reply.header('retry-after', error.retryAfterSeconds)
    return answer(request, reply, code, message)
  })
}

/**
 * An error handler for routes of stock clients: they show `failure reason` (BEP 3), which has code and message. The
 * status is 200, as they do not read the bodies of other answers.
 */
export function bencodedErrors(log: Logger, metrics: TrackerMetrics) {
  const defects = new Defects({ log, count: metrics.countDefect })
  return (error: Error, request: FastifyRequest, reply: FastifyReply) => {
    const { code, message } = refusalOf(error) ?? noteDefect(request, error, defects)
    noteRefusal(request, code, { log, metrics })
    return reply.type('text/plain').send(encodeBencode({ 'failure reason': `${code}: ${message}` }))
  }
}

function noteRefusal(
  request: FastifyRequest,
  code: RefusalCode,
  { log, metrics }: { log: Logger; metrics: TrackerMetrics },
): void {
  const status = STATUS_BY_CODE[code]
  metrics.refusals.inc({ code })
  const facts = { code, route: request.routeOptions.url, address: request.ip }
  // Operators need to see who is refused; other mistakes of callers are for debugging.
  if (status === 401 || status === 403) log.info(facts, 'request refused')
  else log.debug(facts, 'request refused')
}

function noteDefect(request: FastifyRequest, error: Error, defects: Defects): Refusal {
  defects.note('tracker_request', error, { route: request.routeOptions.url })
  return { code: 'INTERNAL', message: 'internal error' }
}

interface Refusal {
  code: RefusalCode
  message: string
}

function refusalOf(error: Error): Refusal | undefined {
  if (error instanceof RefusedError) return error
  if (error instanceof ShoalError) {
    return error.code in STATUS_BY_CODE
      ? { code: error.code as RefusalCode, message: error.message }
      : undefined
  }
  return refusalOfFramework(error as FastifyError)
}

/** Refusals of fastify itself, before any of our code runs. */
function refusalOfFramework(error: FastifyError): Refusal | undefined {
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return { code: 'BODY_TOO_LARGE', message: 'the request body is too large' }
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return { code: 'UNSUPPORTED_MEDIA', message: 'application/json is expected' }
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
      return { code: 'BAD_JSON', message: 'the request body is not JSON' }
  }
  const isCallersFault = error.statusCode !== undefined && error.statusCode < 500
  if (error instanceof SyntaxError) return { code: 'BAD_JSON', message: 'the request body is not JSON' }
  return isCallersFault ? { code: 'BAD_REQUEST', message: 'the tracker cannot read the request' } : undefined
}

/** Answers URLs that cannot be parsed; fastify calls this before any handler of ours. */
export function answerUnreadableUrl(
  _error: FastifyError,
  _request: FastifyRequest,
  reply: FastifyReply,
): void {
  const error = { code: 'BAD_REQUEST', message: 'the URL cannot be read' }
  reply.code(STATUS_BY_CODE.BAD_REQUEST).send({ error })
}
