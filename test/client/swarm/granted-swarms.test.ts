import { expect, test } from 'vitest'
import type { BlobRequest } from '../../../client/client.ts'
import { Blocks } from '../../../client/membership/blocks.ts'
import { Vouching } from '../../../client/origin/vouching.ts'
import { GrantedSwarms, type GrantedSwarmsOptions } from '../../../client/swarm/granted-swarms.ts'
import { type ClusterId, swarmIdOf } from '../../../core/metainfo.ts'

const HOUR_MS = 3600_000
const cluster = `c${'1'.repeat(16)}` as ClusterId
const request = {
  registry: 'registry.example',
  repository: 'team/app',
  digest: `sha256:${'a'.repeat(64)}`,
  bytes: 300_000,
  credential: { scheme: 'none' },
} as unknown as BlobRequest

test('a grant says that the blob is in the repository as of when it was given, however often it is used or renewed', async () => {
  const vouching = new Vouching((host) => host)
  const grantedAtMs = Date.now() - HOUR_MS / 2
  const granted = { swarm: swarmIdOf({ cluster, apiPath: undefined, ...request }) }
  const swarms = new GrantedSwarms({
    cluster: () => cluster,
    apiPathOf: () => undefined,
    swarms: () => ({
      getChecked: async () => undefined,
      ensure: async () => ({ admitReader: () => undefined }),
    }),
    grants: { obtain: async () => ({ grant: { grantedAtMs }, swarm: granted }) },
    vouching,
    blocks: new Blocks(),
    onMembership: () => undefined,
  } as unknown as GrantedSwarmsOptions)
  await swarms.open(request)
  expect(vouching.isMember(request, grantedAtMs + HOUR_MS - 1)).toBe(true)
  expect(vouching.isMember(request, grantedAtMs + HOUR_MS)).toBe(false)
  // The registry's own word to this node is newer, and an old grant takes nothing of it.
  vouching.sawMember(request, grantedAtMs + 1000)
  await swarms.open(request)
  expect(vouching.isMember(request, grantedAtMs + HOUR_MS)).toBe(true)
})
