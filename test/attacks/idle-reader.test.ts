import { readdirSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { AttackLine, proverFor } from './attacker.ts'
import { attackTest } from './ledger.ts'
import { expectServesHonestly, useTarget } from './target.ts'

/** Someone who may pull the blob, and proves it; what it then does must not keep others from being served. */
const target = useTarget({ bytes: 8 * 1024 * 1024 })
const STOCK_BLOCK_BYTES = 16 * 1024
let line: AttackLine
afterEach(() => {
  line.destroy()
  line.forget()
})

async function becomeAdmitted(): Promise<AttackLine> {
  const { cluster, blob, holder, member, swarm } = target
  const { credential } = cluster.request(blob)
  const { token } = credential as { token: string }
  const { certificate } = await member.pull(cluster, blob, token)
  const dialled = new AttackLine({ node: holder, authorities: member.authorities, certificate, sni: swarm })
  expect(await dialled.ready).toBe(true)
  dialled.sendHandshakes(swarm, member.node)
  const prover = proverFor(cluster, token)
  dialled.sendProof({ signingInput: prover.signingInput, proof: prover.prove(dialled.binding()) })
  await expect.poll(() => dialled.messages.some(({ type }) => type === 'unchoke')).toBe(true)
  return dialled
}

attackTest(
  'a peer that asks for more than its socket holds and reads nothing keeps nobody from being served',
  async () => {
    line = await becomeAdmitted()
    const mark = target.logged.length
    line.socket.pause()
    for (let round = 0; round < 20; round++) {
      for (let at = 0; at < 250; at++) {
        const begin = (at % 16) * STOCK_BLOCK_BYTES
        line.send({ type: 'request', piece: at % 32, begin, length: STOCK_BLOCK_BYTES })
      }
      await new Promise((resolve) => setTimeout(resolve, 25))
    }
    await expectServesHonestly(target)
    await expect.poll(() => target.codesSince(mark), { timeout: 9000 }).toContain('PEER_PROTOCOL')
  },
  20_000,
)

/** A busy machine answers late. */
const PATIENCE = { timeout: 9000 }

test('a block that cannot be read is refused, and costs neither the connection nor the node', async () => {
  const blobs = join(target.holder.dataDir, 'blobs')
  truncateSync(join(blobs, readdirSync(blobs)[0]!, 'data'), 300 * 1024)
  line = await becomeAdmitted()
  line.send({ type: 'request', piece: 5, begin: 0, length: STOCK_BLOCK_BYTES })
  await expect.poll(() => line.messages.filter(({ type }) => type === 'reject').length, PATIENCE).toBe(1)
  line.send({ type: 'request', piece: 0, begin: 0, length: STOCK_BLOCK_BYTES })
  await expect.poll(() => line.blockBytes, PATIENCE).toBe(STOCK_BLOCK_BYTES)
})
