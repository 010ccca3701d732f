import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import type { BlobRequest } from '../../../client/client.ts'
import { Blocks } from '../../../client/membership/blocks.ts'
import { GrantedSwarms, type GrantedSwarmsOptions } from '../../../client/swarm/granted-swarms.ts'
import type { Swarm } from '../../../client/swarm/swarm.ts'
import { digestFromHex } from '../../../core/digest.ts'
import type { ClusterId } from '../../../core/metainfo.ts'
import { parseRegistryHost, type Repository } from '../../../core/repository.ts'

const request: BlobRequest = {
  registry: parseRegistryHost('registry.example'),
  repository: 'team/app' as Repository,
  digest: digestFromHex(createHash('sha256').update('blob').digest('hex')),
  bytes: 1_000_000,
  credential: { scheme: 'none' },
}
const never = new Promise<never>(() => undefined)

/** Only what is needed for a copy that is here. */
function granted(getChecked: () => Promise<Swarm | undefined>): GrantedSwarms {
  const options = {
    cluster: () => 'c0123456789abcdef' as ClusterId,
    apiPathOf: () => '/v2/',
    swarms: () => ({ getChecked }),
    hashedMsMax: 300,
    blocks: new Blocks(),
  }
  return new GrantedSwarms(options as unknown as GrantedSwarmsOptions)
}

function wholeSwarm(recheck: () => Promise<void>): Swarm {
  const parts = { stored: { isComplete: true }, access: { admit: () => undefined }, recheck }
  return parts as unknown as Swarm
}

test('a copy that is being hashed after an unclean end holds up no pull for longer than a bound', async () => {
  await expect(granted(() => never).open(request)).rejects.toMatchObject({ code: 'SWARM_STALLED' })
})

test('nor does one that is hashed again', async () => {
  const swarm = wholeSwarm(() => never)
  await expect(granted(async () => swarm).open(request)).rejects.toMatchObject({ code: 'SWARM_STALLED' })
})

test('a copy that is hashed in time is served', async () => {
  const swarm = wholeSwarm(async () => undefined)
  expect(await granted(async () => swarm).open(request)).toBe(swarm)
})
