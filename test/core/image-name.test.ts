import { describe, expect, it } from 'vitest'
import type { Client } from '../../client/index.ts'
import { isDigestMeant, isMeant } from '../../core/image-name.ts'
import type { ImagesSeen } from '../../node/images-seen.ts'
import { cacheRoutes } from '../../node/local/cache.ts'

const MANIFEST = `sha256:${'a1'.repeat(32)}`
const LAYER = `sha256:${'b2'.repeat(32)}`
const OTHER = `sha256:${'c3'.repeat(32)}`
const NGINX = {
  registry: 'registry-1.docker.io',
  repository: 'library/nginx',
  reference: '1',
  digest: MANIFEST,
}
const APP = { registry: 'localhost:5000', repository: 'team/app', reference: 'v1', digest: MANIFEST }

describe('a name of an image', () => {
  it.each([
    ['nginx', NGINX, true],
    ['nginx:1', NGINX, true],
    ['docker.io/library/nginx:1', NGINX, true],
    ['index.docker.io/nginx', NGINX, true],
    [`nginx@${MANIFEST}`, NGINX, true],
    ['a1a1a1a1a1a1', NGINX, true],
    ['nginx:2', NGINX, false],
    [`nginx:1@${OTHER}`, NGINX, false],
    ['other.example/library/nginx:1', NGINX, false],
    ['a1a1a1a1a1a', NGINX, false],
    ['localhost:5000/team/app', APP, true],
    [`localhost:5000/team/app:v1@${MANIFEST}`, APP, true],
    ['localhost:5000/team/app:v2', APP, false],
    ['team/app:v1', APP, false],
  ])('%s of %o: %s', (text, image, is) => expect(isMeant(text, image)).toBe(is))

  it('may be the digest of a layer, where layers count', () => {
    expect(isMeant('b2b2b2b2b2b2', { ...APP, layers: [{ digest: LAYER }] })).toBe(true)
    expect(isMeant('b2b2b2b2b2b2', APP)).toBe(false)
    expect(isDigestMeant(LAYER, LAYER)).toBe(true)
    expect(isDigestMeant('nginx', LAYER)).toBe(false)
  })
})

describe('a pin', () => {
  const names = new Map<string, object>()
  const blob = { digest: LAYER, bytes: 5 }
  const cache = {
    pin: (pin: { name: string }) => void names.set(pin.name, pin),
    unpin: (name: string) => void names.delete(name),
    pins: () => [...names.keys()].map((name) => ({ name, blobs: [] })),
    list: () => [blob, { digest: MANIFEST, bytes: 1 }],
  }
  const images = {
    list: () => [
      { ...APP, blobs: [blob] },
      { ...NGINX, digest: OTHER, blobs: [blob] },
    ],
  }
  const routes = cacheRoutes({
    client: { cache } as unknown as Client,
    images: images as unknown as Pick<ImagesSeen, 'list'>,
  })
  const call = (method: string, name: string) =>
    routes
      .find((route) => route.path === '/v1/cache/pins' && route.method === method)!
      .answer({ query: new URLSearchParams(), body: { name }, gone: new AbortController().signal })

  it.each([
    ['docker.io/library/nginx:1', `registry-1.docker.io/library/nginx:1@${OTHER}`],
    ['nginx', `registry-1.docker.io/library/nginx:1@${OTHER}`],
    ['c3c3c3c3c3c3', `registry-1.docker.io/library/nginx:1@${OTHER}`],
    ['localhost:5000/team/app:v1', `localhost:5000/team/app:v1@${MANIFEST}`],
    ['b2b2b2b2b2b2', LAYER],
  ])('of %s is made and taken back by that name', (text, name) => {
    expect(call('PUT', text)).toMatchObject({ name })
    expect(call('DELETE', text)).toEqual({ name })
    expect(names.size).toBe(0)
  })

  it('of an image that the node has forgotten is taken back by its name, too', () => {
    const forgotten = `localhost:5000/team/gone:v1@${OTHER}`
    for (const text of ['localhost:5000/team/gone:v1', 'localhost:5000/team/gone', forgotten]) {
      names.set(forgotten, {})
      expect(call('DELETE', text)).toEqual({ name: forgotten })
    }
    expect(() => call('DELETE', 'localhost:5000/team/gone:v1')).toThrow(
      expect.objectContaining({ code: 'CACHE_UNKNOWN' }),
    )
  })
})
