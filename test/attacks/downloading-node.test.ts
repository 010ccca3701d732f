import type { X509Certificate } from 'node:crypto'
import { afterEach, expect } from 'vitest'
import { encodeMessage } from '../../client/wire/messages.ts'
import { claimsOf } from '../../core/certificate-claims.ts'
import { pull, randomBlob, type TestBlob } from '../pull/test-cluster.ts'
import { type AttackLine, attack, swarmOf } from './attacker.ts'
import { attackTest } from './ledger.ts'
import { loot } from './loot.ts'
import { expectLogged, expectUnharmed, useTarget } from './target.ts'

/** Attacks on a node in the middle of a pull: it has a pull certificate, peers that it waits for, and work to do. */
const target = useTarget()
const BLOB_BYTES = 24 * 1024 * 1024
/** The registry takes about four seconds over the blob. */
const CHUNK_PAUSE_MS = 20
/** A few thousand frames, and the buffers of two sockets. */
const FLOOD_BYTES_MAX = 16 * 1024 * 1024
let victims = 0
let pulling: { blob: TestBlob; done: Promise<Buffer> } | undefined
afterEach(async () => {
  target.cluster.registry.chunkPauseMs = 0
  // Whatever was done to it, the node has its blob in the end.
  const got = await pulling?.done
  if (pulling) expect(got?.equals(pulling.blob.bytes)).toBe(true)
  pulling = undefined
})

async function startPull() {
  const { cluster, member } = target
  const blob = cluster.registry.add(randomBlob(BLOB_BYTES).bytes)
  const node = await cluster.addNode({ name: `downloading${++victims}` })
  cluster.registry.chunkPauseMs = CHUNK_PAUSE_MS
  pulling = { blob, done: pull(node, cluster.request(blob)) }
  await expect
    .poll(() => node.client.progress().some(({ bytesFromRegistry }) => bytesFromRegistry > 0))
    .toBe(true)
  return { node, blob, sni: swarmOf(member, cluster, blob), authorities: member.authorities }
}

for (const [what, frame] of [
  ['unchoke', encodeMessage({ type: 'unchoke' })],
  ['have', encodeMessage({ type: 'have', piece: 1 })],
  ['have-all', encodeMessage({ type: 'have-all' })],
  ['keep-alive', Buffer.alloc(4)],
] as const) {
  attackTest(`a connection of nothing but ${what} ends, and the pull goes on`, async () => {
    const { blob, ...dial } = await startPull()
    const { certificate } = await target.member.pull(target.cluster, blob)
    const mark = target.logged.length
    const line = await attack(
      { ...dial, certificate },
      (line) => {
        line.sendHandshakes(dial.sni, target.member.node)
        flood(line, frame)
      },
      5_000,
    )
    expect(line.blockBytes).toBe(0)
    await expectLogged(target, mark, 'PEER_PROTOCOL')
    // What was let in, and what was on its way in buffers when the connection ended.
    expect(line.socket.bytesWritten).toBeLessThan(FLOOD_BYTES_MAX)
  })
}

attackTest(
  'a stranger who knows the name of a swarm reads nothing of the image in the certificate',
  async () => {
    const dial = await startPull()
    let certificate: X509Certificate | undefined
    await attack(dial, ({ socket }) => {
      certificate = socket.getPeerX509Certificate()
    })
    // It is given before the stranger is asked for its own.
    const names = certificate!.subjectAltName!
    if (/urn:shoal:(registry|repository|token|pull):|DNS:[0-9a-f]{64}/.test(names)) loot.bytes += names.length
    expect(claimsOf(certificate!).kind).toBe('serve')
  },
)

/** As fast as the other side reads. */
function flood({ socket }: AttackLine, frame: Buffer): void {
  const chunk = Buffer.concat(Array<Buffer>(Math.floor(65_536 / frame.length)).fill(frame))
  const pump = () => {
    while (!socket.destroyed) if (!socket.write(chunk)) return void socket.once('drain', pump)
  }
  pump()
}

expectUnharmed(target)
