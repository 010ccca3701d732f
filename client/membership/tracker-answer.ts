import { errorBody } from '../../core/tracker-api.ts'
import { TrackerRefusedError, TrackerUnavailableError } from '../errors.ts'

/** An answer of a tracker, before its form is checked. */
export interface Answer {
  status: number
  body: unknown
}

export function codeOf({ body }: Answer): string | undefined {
  const parsed = errorBody.safeParse(body)
  return parsed.success ? parsed.data.error.code : undefined
}

/** @param path of the call */
export function refusalOf(path: string, answer: { status: number; body: unknown }): Error {
  const parsed = errorBody.safeParse(answer.body)
  const isRegistrys = parsed.success && parsed.data.error.code === 'REGISTRY_UNREACHABLE'
  if (!parsed.success || (answer.status >= 500 && !isRegistrys)) {
    const trackerCode = codeOf(answer)
    const text = `the tracker answered ${answer.status} to ${path}`
    return new TrackerUnavailableError(text, trackerCode === undefined ? {} : { trackerCode })
  }
  return new TrackerRefusedError(parsed.data.error.message, {
    trackerCode: parsed.data.error.code,
    status: answer.status,
  })
}
