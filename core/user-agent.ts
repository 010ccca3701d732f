import type { Dispatcher } from 'undici'
import { shoalVersion } from './version.ts'

let userAgent: string | undefined

/** Names Shoal in the logs of whoever it asks on its own behalf. Read once: an upgrade replaces the file under a running program. */
export function shoalUserAgent(): string {
  userAgent ??= `shoal/${shoalVersion()}`
  return userAgent
}

export function withUserAgent(): Dispatcher.DispatcherComposeInterceptor {
  const userAgent = shoalUserAgent()
  return (dispatch) => (options, handler) =>
    dispatch({ ...options, headers: { ...(options.headers as object), 'user-agent': userAgent } }, handler)
}
