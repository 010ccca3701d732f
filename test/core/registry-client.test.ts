import { afterEach, describe, expect, it } from 'vitest'
import { makeAuthority } from '../../core/issue-certificate.ts'
import { openRegistries } from '../../core/registry-client.ts'
import type { RegistryConfig } from '../../core/registry-config.ts'
import {
  alwaysStatus,
  BLOB,
  type Door,
  REPOSITORY,
  startTestRegistry,
  type TestRegistry,
} from './test-registry.ts'

const open: TestRegistry[] = []

afterEach(async () => {
  await Promise.all(open.splice(0).map((registry) => registry.close()))
})

async function start(door: Door, changes: Partial<RegistryConfig> = {}, headPatienceMs?: number) {
  const registry = await startTestRegistry(
    door,
    changes,
    headPatienceMs === undefined ? {} : { headPatienceMs },
  )
  open.push(registry)
  return registry
}

function head(registry: TestRegistry, signal?: AbortSignal) {
  const request = { repository: REPOSITORY, digest: BLOB, authorization: 'Bearer a-token' }
  return registry.clients
    .get(registry.host)!
    .headBlob(signal === undefined ? request : { ...request, signal })
}

describe('a HEAD request for a blob', () => {
  it('says that the blob is there, and how long it is', async () => {
    const registry = await start(alwaysStatus(200, { 'content-length': 4096 }))
    expect(await head(registry)).toEqual({ isPresent: true, bytes: 4096, isRedirect: false })
    expect(registry.requests).toEqual([
      { line: `HEAD /v2/${REPOSITORY}/blobs/${BLOB}`, authorization: 'Bearer a-token' },
    ])
  })

  it('counts a redirect as presence, and does not follow it', async () => {
    const registry = await start(alwaysStatus(307, { location: '/elsewhere' }))
    expect(await head(registry)).toEqual({ isPresent: true, bytes: undefined, isRedirect: true })
    expect(registry.requests).toHaveLength(1)
  })

  it.each([304, 401, 403, 404, 429, 500])('counts %i as absence', async (status) => {
    expect(await head(await start(alwaysStatus(status)))).toEqual({ isPresent: false, status })
  })

  it('ends with REGISTRY_UNREACHABLE when there is no answer in time', async () => {
    const registry = await start(() => {}, {}, 100)
    await expect(head(registry)).rejects.toMatchObject({ code: 'REGISTRY_UNREACHABLE' })
  })

  it('ends with the reason of the caller who gives up', async () => {
    const registry = await start(() => {})
    await expect(head(registry, AbortSignal.abort(new Error('enough')))).rejects.toThrowError('enough')
  })
})

describe('the registry’s certificate', () => {
  it('must come from the system’s authorities or the configured bundle', async () => {
    const registry = await start(alwaysStatus(200))
    const { caFile: _, ...withoutBundle } = registry.config
    const wrong = await makeAuthority({ commonName: 'another authority', validForSeconds: 60 })
    const wrongBundle = { ...registry.config, caFile: registry.writeFile('wrong.pem', wrong.certificatePem) }
    for (const config of [withoutBundle, wrongBundle]) {
      const clients = openRegistries([config])
      const request = { repository: REPOSITORY, digest: BLOB, authorization: 'Bearer a-token' }
      await expect(clients.get(registry.host)!.headBlob(request)).rejects.toMatchObject({
        code: 'REGISTRY_UNREACHABLE',
      })
      await clients.get(registry.host)!.close()
    }
    expect(registry.requests).toHaveLength(0)
  })

  it('is checked with a bundle that is one, or the program stops', async () => {
    const registry = await start(alwaysStatus(200))
    const withFile = (caFile: string) => () => openRegistries([{ ...registry.config, caFile }])
    const coded = (code: string) => expect.objectContaining({ code })
    expect(withFile('/nowhere/ca.pem')).toThrowError(coded('REGISTRY_FILE'))
    expect(withFile(registry.writeFile('empty.pem', '\n'))).toThrowError(coded('REGISTRY_FILE'))
    expect(withFile(registry.writeFile('text.pem', 'not a bundle'))).toThrowError(coded('AUTHORITY_BUNDLE'))
    const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
    expect(withFile(registry.writeFile('broken.pem', broken))).toThrowError(coded('AUTHORITY_BUNDLE'))
  })
})

describe('the dispatcher for redirects', () => {
  const fetchFrom = (registry: TestRegistry) => {
    const { redirectDispatcher } = registry.clients.get(registry.host)!
    return redirectDispatcher.request({ origin: `https://${registry.host}`, path: '/blob', method: 'GET' })
  }

  it('refuses a name that resolves to loopback', async () => {
    const registry = await start(alwaysStatus(200))
    await expect(fetchFrom(registry)).rejects.toMatchObject({ code: 'REDIRECT_REFUSED' })
    expect(registry.requests).toHaveLength(0)
  })

  it('goes there when it is configured to', async () => {
    const registry = await start(alwaysStatus(200), { permitPrivateRedirects: true })
    const { statusCode, body } = await fetchFrom(registry)
    await body.dump()
    expect(statusCode).toBe(200)
  })
})
