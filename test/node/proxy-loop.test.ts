import { networkInterfaces } from 'node:os'
import { expect, it } from 'vitest'
import { UpstreamProxy } from '../../core/upstream-proxy.ts'
import { refuseProxyLoop } from '../../node/proxy-loop.ts'

const listen = { host: '127.0.0.1', port: 7070 }
const proxy = (https: string) => new UpstreamProxy({ https, http: undefined, noProxy: '' })
const own = Object.values(networkInterfaces())
  .flat()
  .filter((found) => found?.family === 'IPv4')
  .map((found) => found!.address)

it.each(['127.0.0.1', 'localhost', '127.1.2.3', '[::1]', '0.0.0.0', ...own])(
  'a node whose upstream proxy is %s, at its own port, does not start',
  async (host) => {
    await expect(refuseProxyLoop(proxy(`http://${host}:7070`), listen)).rejects.toMatchObject({
      code: 'CONFIG',
      hint: expect.stringContaining('--upstream-proxy'),
    })
  },
)

it.each(['http://127.0.0.1:3128', 'http://192.0.2.1:7070', 'http://proxy.invalid:7070'])(
  '%s is another program',
  async (url) => {
    await expect(refuseProxyLoop(proxy(url), listen)).resolves.toBeUndefined()
  },
)
