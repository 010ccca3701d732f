import { afterEach, describe, expect, it } from 'vitest'
import { Vouching } from '../../client/origin/vouching.ts'
import { getBlob } from '../../core/blob-get.ts'
import { type ClusterId, swarmIdOf } from '../../core/metainfo.ts'
import type { RegistryClient } from '../../core/registry-client.ts'
import { type RegistryHost, scopeOf } from '../../core/repository.ts'
import { Acceptances } from '../../tracker/pull/acceptances.ts'
import { Memberships } from '../../tracker/pull/membership.ts'
import {
  BLOB,
  BLOB_BYTES,
  type Door,
  REPOSITORY,
  startTestRegistry,
  type TestRegistry,
} from '../core/test-registry.ts'

/** One host with two registries, each with its API below a path of its own: the same callers may have other things in each. */
const [OURS, THEIRS] = ['/nexus/repository/ours', '/nexus/repository/theirs']
const BEARER = 'Bearer opaque_5b4a3c2d1e0f'
const NOW_MS = 1_000_000

/** The blob is in the first registry only, for this caller. */
const door: Door = ({ url, headers }, response) => {
  const isThere = url === `${OURS}/v2/${REPOSITORY}/blobs/${BLOB}`
  if (headers.authorization !== BEARER) response.writeHead(401)
  else if (!isThere) response.writeHead(404)
  else response.writeHead(200, { 'content-length': BLOB_BYTES })
  response.end()
}

const running: TestRegistry[] = []
afterEach(async () => {
  for (const registry of running.splice(0)) await registry.close()
})

async function clientOf(apiPath: string | undefined): Promise<RegistryClient> {
  const registry = await startTestRegistry(door, apiPath === undefined ? {} : { apiPath })
  running.push(registry)
  return registry.clients.get(registry.host)!
}

/** The same host with its API elsewhere, as after a change of the configuration. */
function movedTo(apiPath: string, other: RegistryClient, at: RegistryClient): RegistryClient {
  return { ...at, host: other.host, apiPath, habits: at.habits, headBlob: (request) => at.headBlob(request) }
}

const blob = { repository: REPOSITORY, digest: BLOB, authorization: BEARER }

describe('a registry whose API stands below a path', () => {
  it('is asked for blobs, and for their bytes, there and nowhere else', async () => {
    const registry = await clientOf(OURS)
    expect(await registry.headBlob(blob)).toMatchObject({ isPresent: true, bytes: BLOB_BYTES })
    const signal = AbortSignal.timeout(5_000)
    const { answer } = await getBlob({ ...blob, registry, range: undefined, signal })
    answer.body.on('error', () => undefined).destroy()
    expect(answer.statusCode).toBe(200)
    const path = `${OURS}/v2/${REPOSITORY}/blobs/${BLOB}`
    expect(running[0]!.requests.map(({ line }) => line)).toEqual([`HEAD ${path}`, `GET ${path}`])
    expect(await (await clientOf(undefined)).headBlob(blob)).toMatchObject({ isPresent: false })
  })

  it('lets nobody have what another registry of its host allowed before a restart', async () => {
    const ours = await clientOf(OURS)
    const theirs = movedTo(THEIRS, ours, await clientOf(THEIRS))
    const question = { ...blob, digests: [BLOB], endsAtMs: NOW_MS + 60_000, nowMs: NOW_MS }
    const memberships = new Memberships()
    const acceptances = new Acceptances(memberships)
    await acceptances.check({ ...question, registry: ours })
    const [records, members] = [acceptances.takeUnsaved(), memberships.takeUnsaved()]
    expect([records.length, members.length]).toEqual([1, 1])

    const laterMemberships = new Memberships()
    laterMemberships.restore(members, NOW_MS)
    const later = new Acceptances(laterMemberships)
    later.restore(records, NOW_MS)
    expect(await later.check({ ...question, registry: ours })).toBe(BLOB)
    const member = { ...blob, bytes: BLOB_BYTES, nowMs: NOW_MS }
    await laterMemberships.check({ ...member, registry: ours })
    const code = 'BLOB_NOT_IN_REPOSITORY'
    await expect(later.check({ ...question, registry: theirs })).rejects.toMatchObject({ code })
    await expect(laterMemberships.check({ ...member, registry: theirs })).rejects.toMatchObject({ code })
  })

  it('shares no copy with another registry of its host', () => {
    const key = { cluster: 'c'.repeat(16) as ClusterId, registry: 'registry.example' as RegistryHost }
    const idAt = (apiPath?: string) => swarmIdOf({ ...key, apiPath, digest: BLOB, bytes: BLOB_BYTES })
    expect(new Set([idAt(), idAt(OURS), idAt(THEIRS)]).size).toBe(3)
    expect(idAt('')).toBe(idAt())
  })

  it('has no node vouch for whom another registry of its host accepted', () => {
    const host = 'registry.example' as RegistryHost
    const vouchingAt = (apiPath: string) => new Vouching((named) => scopeOf({ host: named, apiPath }))
    const credential = { scheme: 'none' as const }
    const request = { registry: host, repository: REPOSITORY, digest: BLOB, credential }
    const ours = vouchingAt(OURS!)
    ours.sawAccepted(request, { isOpen: true, nowMs: NOW_MS })
    const record = ours.record(NOW_MS)
    const [again, theirs] = [vouchingAt(OURS!), vouchingAt(THEIRS!)]
    for (const vouching of [again, theirs]) vouching.restore(record, NOW_MS)
    expect(again.vouchesFor(request, NOW_MS)).toBe(true)
    expect(theirs.vouchesFor(request, NOW_MS)).toBe(false)
  })
})
