import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { TrackerRefusedError } from '../../../client/errors.ts'
import type { ClusterTrustState, PeerCredential } from '../../../client/membership/cluster-trust.ts'
import { LinkIdentity } from '../../../client/membership/link-identity.ts'
import { NodeIdentity } from '../../../client/membership/node-identity.ts'
import type { TrackerClient } from '../../../client/membership/tracker-client.ts'
import { makeAuthority } from '../../../core/issue-certificate.ts'
import type { JoinRequest } from '../../../core/join-api.ts'
import type { ClusterId } from '../../../core/metainfo.ts'
import { WIRE_VERSION_FIRST, WIRE_VERSION_LINKS } from '../../../core/wire-version.ts'
import { ClusterAuthority } from '../../../tracker/authority/cluster-authority.ts'

const cluster = `c${'1'.repeat(16)}` as ClusterId
const HOUR_SECONDS = 3600
const linkCertificate = { certificate: 'link', validForSeconds: HOUR_SECONDS }

let dataDir: string
let outdated: string | undefined
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'shoal-link-'))
  outdated = undefined
})
afterEach(() => {
  vi.useRealTimers()
  rmSync(dataDir, { recursive: true })
})

/** Trust that makes no TLS contexts. */
const trust = {
  credential: (certificatePem: string, _key: string, validForSeconds: number) =>
    ({ certificatePem, expiresAtMs: Date.now() + validForSeconds * 1000 }) as PeerCredential,
  isOutdated: (pem: string) => pem === outdated,
} as unknown as ClusterTrustState

async function started(wire?: number) {
  const identity = await NodeIdentity.load(dataDir)
  return { identity, links: new LinkIdentity(identity, { trust, wire }) }
}

/** Answers joins; one of `isOlder` refuses the version, as trackers did that knew none. */
async function startTracker({ isOlder }: { isOlder: boolean }) {
  const made = await makeAuthority({ commonName: 'cluster', validForSeconds: 60 })
  const authority = new ClusterAuthority(made.certificatePem, made.privateKeyPem, 0)
  const asked: JoinRequest[] = []
  const join = async (request: JoinRequest) => {
    asked.push(request)
    if (isOlder && 'wire' in request)
      throw new TrackerRefusedError('unknown field', { trackerCode: 'INVALID_INPUT', status: 400 })
    const spki = Buffer.from(request.publicKey, 'base64url')
    const { node } = await NodeIdentity.load(dataDir)
    const claims = { kind: 'node', cluster, node } as const
    const issued = authority.issue({ claims, spki, nowMs: Date.now(), validForSeconds: 60 })
    const news = isOlder ? {} : { wire: WIRE_VERSION_LINKS, linkCertificate }
    return { cluster, node, ...issued, authorities: [made.certificatePem], ...news }
  }
  return { tracker: { join, identify: () => undefined } as unknown as TrackerClient, asked }
}

test('a node with links names its version with the join, and has its certificate from then on', async () => {
  const { identity, links } = await started(WIRE_VERSION_LINKS)
  const { tracker, asked } = await startTracker({ isOlder: false })
  await identity.join(tracker, 'token', links)
  expect(asked.map(({ wire }) => wire)).toEqual([WIRE_VERSION_LINKS])
  expect(links.credential?.certificatePem).toBe('link')
  expect(links.heartbeatFields).toEqual({ wire: WIRE_VERSION_LINKS })
})

test('an older tracker is asked again without it, and then sent no field that it refuses', async () => {
  const { identity, links } = await started(WIRE_VERSION_LINKS)
  const { tracker, asked } = await startTracker({ isOlder: true })
  await identity.join(tracker, 'token', links)
  expect(asked.map((request) => 'wire' in request)).toEqual([true, false])
  expect([links.credential, links.heartbeatFields, links.joinFields]).toEqual([undefined, {}, {}])
})

test('a tracker that is upgraded later is noticed with its first heartbeat', async () => {
  const { links } = await started(WIRE_VERSION_LINKS)
  links.heard({})
  expect(links.heartbeatFields).toEqual({})
  links.heard({ wire: WIRE_VERSION_LINKS })
  expect(links.heartbeatFields).toEqual({ wire: WIRE_VERSION_LINKS, wantsLinkCertificate: true })
  links.refused()
  expect(links.heartbeatFields).toEqual({})
})

test('a node of the first version sends what nodes always sent', async () => {
  const { identity, links } = await started(WIRE_VERSION_FIRST)
  const { tracker, asked } = await startTracker({ isOlder: false })
  await identity.join(tracker, 'token', links)
  expect(asked.map(Object.keys)).toEqual([['joinToken', 'publicKey']])
  expect(links.heartbeatFields).toEqual({})
})

test('the certificate is renewed at two thirds of its life, under a new authority at once, and none is shown after its end', async () => {
  vi.useFakeTimers()
  const { links } = await started(WIRE_VERSION_LINKS)
  links.heard({ wire: WIRE_VERSION_LINKS, linkCertificate })
  const isAskedFor = () => links.heartbeatFields.wantsLinkCertificate === true
  vi.advanceTimersByTime(HOUR_SECONDS * 666)
  expect(isAskedFor()).toBe(false)
  outdated = 'link'
  expect(isAskedFor()).toBe(true)
  outdated = undefined
  vi.advanceTimersByTime(HOUR_SECONDS)
  expect(isAskedFor()).toBe(true)
  links.heard({ wire: WIRE_VERSION_LINKS, linkCertificate: null })
  expect(links.credential).toBeDefined()
  vi.advanceTimersByTime(HOUR_SECONDS * 334)
  expect([links.credential, links.record()]).toEqual([undefined, null])
})

test('after a restart the node shows the same certificate until the tracker gives another', async () => {
  const { links } = await started(WIRE_VERSION_LINKS)
  links.heard({ wire: WIRE_VERSION_LINKS, linkCertificate })
  const { links: restarted } = await started(WIRE_VERSION_LINKS)
  restarted.restore(links.record()!)
  expect(restarted.credential?.certificatePem).toBe('link')
  restarted.heard({ wire: WIRE_VERSION_LINKS })
  expect(restarted.heartbeatFields.wantsLinkCertificate).toBe(true)
})
