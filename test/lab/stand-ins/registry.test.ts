import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeAuthority } from '../../../core/issue-certificate.ts'
import { issueForLocalhost } from '../../../lab/machine/localhost-certificate.ts'
import { LabProcesses } from '../../../lab/machine/processes.ts'
import { isLayoutWhole } from '../../../lab/pullers/oci-layout.ts'
import type { ImageReference } from '../../../lab/pullers/puller.ts'
import type { Account } from '../../../lab/registry/registry.ts'
import { askForBlob, placeOf, runClient } from '../../../lab/stand-ins/client.ts'
import { partOf } from '../../../lab/stand-ins/distribution-api.ts'
import { type StandInRegistry, startStandInRegistry } from '../../../lab/stand-ins/registry.ts'
import { challengeOf, RegistrySession } from '../../../lab/stand-ins/registry-session.ts'

const dir = mkdtempSync(join(tmpdir(), 'shoal-stand-in-'))
const processes = new LabProcesses(dir)
let registry: StandInRegistry
let image: ImageReference
const sessions: RegistrySession[] = []

beforeAll(async () => {
  const authority = await makeAuthority({ commonName: 'test authority', validForSeconds: 3600 })
  const tls = await issueForLocalhost(authority)
  mkdirSync(join(dir, 'registry'))
  const place = { dir: join(dir, 'registry'), processes, tls, authorityPem: authority.certificatePem }
  registry = await startStandInRegistry(place)
  image = await registry.publish('v1', [200_000, 100_000])
})
afterAll(async () => {
  for (const session of sessions) await session.close()
  await processes.close()
  rmSync(dir, { recursive: true, force: true })
})

function sessionOf(account: Account): RegistrySession {
  const session = new RegistrySession({ registry: registry.host, account, caFiles: [registry.caFile] })
  sessions.push(session)
  return session
}
const jobOf = (account: Account) => ({ ...placeOf(image), account, caFiles: [registry.caFile] })
const layer = () => image.layers[0]!

describe('the stand-in registry and its client', () => {
  it('move an image, of which every digest holds', async () => {
    const layout = join(dir, 'pulled')
    await runClient({ processes }, { act: 'pull', layout, ...jobOf(registry.puller) })
    expect(await isLayoutWhole(layout, image)).toBe(true)
    expect(registry.egress().get(layer().digest)).toEqual({ bytes: layer().bytes, requests: 1 })
  })

  it('give a byte to nobody without the right, although he knows the digest', async () => {
    const asked = { layout: dir, blob: layer().digest }
    const refused = { manifestStatus: 401, blobStatus: 401, bytes: 0 }
    expect(await askForBlob({ processes }, { ...asked, ...jobOf(registry.stranger) })).toEqual(refused)
    const allowed = { manifestStatus: 200, blobStatus: 200, bytes: layer().bytes }
    expect(await askForBlob({ processes }, { ...asked, ...jobOf(registry.puller) })).toEqual(allowed)
  })

  it('let nobody push who may only pull', async () => {
    const session = sessionOf(registry.puller)
    const path = '/v2/team/app/blobs/uploads/'
    expect((await session.request({ method: 'POST', path })).statusCode).toBe(401)
  })

  it('answer ranges with the part that was asked for', async () => {
    const session = sessionOf(registry.puller)
    const path = `/v2/team/app/blobs/${layer().digest}`
    const get = (range: string) => session.request({ method: 'GET', path, headers: { range } })
    const part = await get('bytes=10-19')
    expect([part.statusCode, part.headers['content-range']]).toEqual([206, `bytes 10-19/${layer().bytes}`])
    expect((await part.body.arrayBuffer()).byteLength).toBe(10)
    const beyond = await get(`bytes=${layer().bytes}-`)
    expect(beyond.statusCode).toBe(416)
    await beyond.body.dump()
  })

  it('list tags, and know no others', async () => {
    const session = sessionOf(registry.puller)
    const tags = await session.expect({ method: 'GET', path: '/v2/team/app/tags/list' }, 200)
    expect(await tags.body.json()).toEqual({ name: 'team/app', tags: ['v1'] })
    const other = await session.request({ method: 'HEAD', path: '/v2/team/app/manifests/v2' })
    expect(other.statusCode).toBe(404)
    await other.body.dump()
  })

  it('refuse what is no path of the API, and a digest that nobody pushed', async () => {
    const session = sessionOf(registry.puller)
    for (const path of [
      '/v2/team/app/blobs/..%2f..%2fconfig.json',
      `/v2/team/app/blobs/sha256:${randomBytes(32).toString('hex')}`,
      '/v3/',
    ]) {
      const answer = await session.request({ method: 'GET', path })
      expect(answer.statusCode, path).toBe(404)
      await answer.body.dump()
    }
  })
})

describe('a range', () => {
  it.each([
    [undefined, undefined],
    ['bytes=0-', { start: 0, end: 100 }],
    ['bytes=5-9', { start: 5, end: 10 }],
    ['bytes=90-200', { start: 90, end: 100 }],
    ['bytes=-10', { start: 90, end: 100 }],
    ['bytes=100-', 'unsatisfiable'],
    ['bytes=9-5', 'unsatisfiable'],
    ['bytes=0-1,3-4', undefined],
  ])('%s of 100 bytes is %j', (range, part) => {
    expect(partOf(range, 100)).toEqual(part)
  })
})

describe('a challenge', () => {
  it('is read as Distribution writes it', () => {
    const header =
      'Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull,push"'
    expect(challengeOf(header)).toEqual({
      ...{ realm: 'https://auth.example/token', service: 'registry', scope: 'repository:a/b:pull,push' },
    })
    expect(challengeOf('Basic realm="x"')).toEqual({})
  })
})
