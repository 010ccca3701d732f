import type { Dispatcher } from 'undici'
import { shoalVersion } from './version.ts'

/** Names Shoal in the registry's log for requests that are its own. */
export function withUserAgent(): Dispatcher.DispatcherComposeInterceptor {
  const userAgent = `shoal/${shoalVersion()}`
  return (dispatch) => (options, handler) =>
    dispatch({ ...options, headers: { ...(options.headers as object), 'user-agent': userAgent } }, handler)
}
