import type { Dispatcher } from 'undici'
import { shoalVersion } from './version.ts'

/** Names Shoal in the logs of whoever it asks on its own behalf. */
export function shoalUserAgent(): string {
  return `shoal/${shoalVersion()}`
}

export function withUserAgent(): Dispatcher.DispatcherComposeInterceptor {
  const userAgent = shoalUserAgent()
  return (dispatch) => (options, handler) =>
    dispatch({ ...options, headers: { ...(options.headers as object), 'user-agent': userAgent } }, handler)
}
