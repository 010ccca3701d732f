import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { expect } from 'vitest'
import type { SwarmId } from '../../core/metainfo.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { makeSigner, pullClaims } from '../core/signed-tokens.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import { TestCaller } from '../tracker/test-tracker.ts'
import { attackTest, controlTest } from './ledger.ts'
import { loot } from './loot.ts'
import { expectUnharmed, useTarget } from './target.ts'

/** Those who want to know what a cluster has, and who of it has what, and were granted nothing. */
const target = useTarget()
const UNKNOWN = 'ab'.repeat(20) as SwarmId

const port = () => target.cluster.tracker.address.port

/** The peers that the member is told when it says that it holds the swarm. */
async function peersOf(swarm: SwarmId, isSeed: boolean): Promise<readonly unknown[]> {
  const { peers } = await target.member.tracker.heartbeat({
    ...{ listenPort: 9, isFullInventory: true, holds: [{ swarm, isSeed }], dropped: [], wantsPeers: [swarm] },
    ...{ servePublicKey: null, badPeers: [], revocationsVersion: 0 },
  })
  const told = peers[0]!.peers
  loot.bytes += told.length === 0 ? 0 : JSON.stringify(told).length
  return told
}

attackTest('a member that was granted nothing hears of no peers, whatever it says it holds', async () => {
  for (const isSeed of [false, true]) expect(await peersOf(target.swarm, isSeed)).toEqual([])
})

controlTest('a member that was granted the blob hears of its peers', async () => {
  await target.member.pull(target.cluster, target.blob)
  expect(await peersOf(target.swarm, false)).toHaveLength(1)
})

attackTest('a stranger cannot tell by a made-up token whether any cluster has a blob', async () => {
  const { trackerCaPem } = target.cluster.nodeOptions('stranger') as { trackerCaPem: string }
  const stranger = new TestCaller(port, { ca: trackerCaPem })
  const signer = makeSigner('ES256')
  const forged = signer.sign(pullClaims(REPOSITORY), { jwk: signer.publicJwk } as never)
  for (const token of ['x.y.z', forged]) {
    const ask = (swarm: SwarmId) =>
      stranger.request('GET', `/v1/swarms/${swarm}/torrent`, undefined, { authorization: `Bearer ${token}` })
    const [known, unknown] = [await ask(target.swarm), await ask(UNKNOWN)]
    if (JSON.stringify(known) !== JSON.stringify(unknown)) loot.bytes += 1
    expect(known).toEqual(unknown)
    expect(known.status).toBe(401)
  }
  await stranger.close()
})

if (!mustSkipFor(['openssl'])) {
  attackTest("the tracker's TLS tells a stranger no cluster's id", async () => {
    const options = ['s_client', '-connect', `localhost:${port()}`, '-servername', 'localhost']
    const client = spawn('openssl', options, { stdio: ['pipe', 'pipe', 'ignore'] })
    client.stdin.end()
    const [said] = await Promise.all([text(client.stdout), once(client, 'close')])
    expect(said).toMatch(/CN ?= ?shoal authority /)
    loot.bytes += said.split(target.member.cluster).length - 1
    expect(said).not.toContain(target.member.cluster)
  })
}

expectUnharmed(target)
