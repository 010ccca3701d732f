import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import type { ImagePlan } from '../../../client/client.ts'
import { TrackerRefusedError } from '../../../client/errors.ts'
import {
  Grants,
  type GrantsOptions,
  PLANS_IN_FLIGHT_MAX,
  PLANS_PER_REGISTRY_MAX,
} from '../../../client/membership/grants.ts'
import { CERTIFICATE_BLOBS_MAX } from '../../../core/certificate-claims.ts'
import { Conditions } from '../../../core/conditions.ts'
import { digestFromHex } from '../../../core/digest.ts'
import { createLog } from '../../../core/log.ts'
import { parseRegistryHost, type Repository } from '../../../core/repository.ts'
import type { PullRequest } from '../../../core/tracker-api.ts'

const blob = (name: string) => ({
  digest: digestFromHex(createHash('sha256').update(name).digest('hex')),
  bytes: 1_000_000,
})

function image(name: string, registry = 'registry.example', token = 'token'): ImagePlan {
  return {
    registry: parseRegistryHost(registry),
    repository: `team/${name}` as Repository,
    credential: { scheme: 'bearer', token },
    blobs: [blob(`${name} 1`), blob(`${name} 2`)],
  }
}

/** Grants of a tracker that answers when the test says so. */
function startGrants({ isOff = false, planned = [] as ImagePlan['blobs'] } = {}) {
  const asked: PullRequest[] = []
  const refusals: ((error: Error) => void)[] = []
  const tracker = {
    watch: { isOff, hasHeardSince: () => true },
    pull: (request: PullRequest) => {
      asked.push(request)
      return new Promise((_, reject) => refusals.push(reject))
    },
  }
  const conditions = new Conditions({ log: createLog({ level: 'silent', name: 'test' }) })
  const options = { tracker, patienceMs: () => 300, conditions, listenPort: () => 1, planned: () => planned }
  return { grants: new Grants(options as unknown as GrantsOptions), asked, refusals }
}

test('a plan asks once for all its blobs, ahead of need and without a lease', () => {
  const { grants, asked } = startGrants()
  grants.prepare(image('app'))
  grants.prepare(image('app'))
  expect(asked).toHaveLength(1)
  expect(asked[0]!.blobs).toEqual(image('app').blobs.map((it) => ({ ...it, isWanted: false })))
})

test('plans in flight are bounded, for the node and for each registry', () => {
  const { grants, asked } = startGrants()
  for (let at = 0; at < 20; at += 1) grants.prepare(image(`app${at}`))
  expect(asked).toHaveLength(PLANS_PER_REGISTRY_MAX)
  for (let at = 0; at < 20; at += 1) grants.prepare(image('app', `registry${at}.example`))
  expect(asked).toHaveLength(PLANS_IN_FLIGHT_MAX)
})

test('nothing is asked while the tracker is off', () => {
  const { grants, asked } = startGrants({ isOff: true })
  grants.prepare(image('app'))
  expect(asked).toEqual([])
})

test('the blobs of a plan wait together, once, and ask nothing themselves', async () => {
  const { grants, asked } = startGrants()
  const plan = image('app')
  grants.prepare(plan)
  const [first, second] = plan.blobs.map((it) => ({ ...plan, ...it }))
  await expect(grants.obtain(first!)).rejects.toMatchObject({ code: 'GRANT_LATE' })
  const startedAtMs = performance.now()
  await expect(grants.obtain(second!)).rejects.toMatchObject({ code: 'GRANT_LATE' })
  expect(performance.now() - startedAtMs).toBeLessThan(250)
  expect(asked).toHaveLength(1)
})

test('a refusal holds for the same credential, and another caller asks for itself', async () => {
  const { grants, asked, refusals } = startGrants()
  const plan = image('app')
  grants.prepare(plan)
  const own = grants.obtain({ ...plan, ...plan.blobs[0]! })
  const credential = { scheme: 'bearer', token: 'another' } as const
  const others = grants.obtain({ ...plan, ...plan.blobs[0]!, credential })
  refusals[0]!(new TrackerRefusedError('no', { trackerCode: 'TOKEN_SCOPE', status: 403 }))
  await expect(own).rejects.toMatchObject({ code: 'TRACKER_REFUSED' })
  await expect(others).rejects.toMatchObject({ code: 'GRANT_LATE' })
  expect(asked.map((request) => request.credential)).toEqual([plan.credential, credential])
})

test('of an image with more layers than one request holds, the rest is asked for together, once', async () => {
  const blobs = Array.from({ length: CERTIFICATE_BLOBS_MAX + 72 }, (_, at) => blob(`large ${at}`))
  const { grants, asked } = startGrants({ planned: blobs })
  const plan = { ...image('large'), blobs }
  grants.prepare(plan)
  const requests = blobs.map((it) => ({ ...plan, ...it }))
  const late = requests.map((request) => expect(grants.obtain(request)).rejects.toThrow())
  expect(asked.map((request) => request.blobs.length)).toEqual([CERTIFICATE_BLOBS_MAX, 72])
  expect(new Set(asked.flatMap((request) => request.blobs.map(({ digest }) => digest))).size).toBe(
    blobs.length,
  )
  await Promise.all(late)
})
