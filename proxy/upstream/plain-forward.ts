import type { IncomingMessage, ServerResponse } from 'node:http'
import { Client } from '../../core/http-dispatchers.ts'
import { ProxyRequestError, TargetUnreachableError } from '../errors.ts'
import { forward } from './forward.ts'
import { parseAuthority, type Target, type TargetPolicy } from './target.ts'
import { connectTarget } from './tunnel.ts'

const ABSOLUTE_FORM = /^http:\/\/([^/?#]+)(\/[^#]*|\?[^#]*)?$/i

/**
 * Forwards plain `http://` requests (absolute-form, RFC 9112 §3.2.2), which clients send if HTTP_PROXY names this proxy
 * too. The rules for tunnels apply, and the swarm never answers them.
 * @throws ShoalError if nothing has been answered
 */
export async function forwardPlain(
  policy: TargetPolicy,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { target, authority, path } = parseAbsoluteForm(request.url ?? '')
  const route = await policy.checkPlain(target)
  const connect = () => (route.via === undefined ? connectTarget(route.target) : policy.dialProxy(route.via))
  const dispatcher = new Client(`http://${authority}`, {
    connect: (_options, callback) => {
      connect().then(
        (socket) => callback(null, socket),
        (error: Error) => callback(error, null),
      )
    },
  })
  const unreachable = (cause: Error) =>
    cause instanceof TargetUnreachableError
      ? cause
      : new TargetUnreachableError(`no answer from ${authority}`, { cause })
  try {
    // A proxy uses the request target, whatever Host says (RFC 9112 §3.2.2).
    const upstream = { dispatcher, path, host: authority, unreachable }
    if (route.via === undefined) await forward(request, response, upstream)
    else {
      const { authorization } = route.via
      const headers = authorization === undefined ? [] : ['Proxy-Authorization', authorization]
      await forward(request, response, { ...upstream, path: `http://${authority}${path}`, headers })
    }
  } finally {
    await dispatcher.destroy()
  }
}

/** @throws ProxyRequestError */
function parseAbsoluteForm(url: string): { target: Target; authority: string; path: string } {
  const [, authority, rest = ''] = ABSOLUTE_FORM.exec(url) ?? []
  if (authority === undefined) {
    throw new ProxyRequestError('this is a proxy: send CONNECT host:port, or a request for an http:// URL')
  }
  const target = parseAuthority(/:\d+$/.test(authority) ? authority : `${authority}:80`)
  return { target, authority, path: rest.startsWith('/') ? rest : `/${rest}` }
}
