import { expect } from 'vitest'
import { LINKS_MAX } from '../../client/swarm/swarm-links.ts'
import { AttackLine, enrol, type Member, proverFor, swarmOf } from './attacker.ts'
import { attackTest } from './ledger.ts'
import { expectServesHonestly, expectUnharmed, useTarget } from './target.ts'

/** One machine with many ids, each with a real grant, that wants nothing but the places of others. */
const target = useTarget()

async function occupy(member: Member): Promise<AttackLine> {
  const { cluster, blob, holder } = target
  const { credential } = cluster.request(blob)
  const token = credential.scheme === 'bearer' ? credential.token : ''
  const { certificate } = await member.pull(cluster, blob, token)
  const swarm = swarmOf(member, cluster, blob)
  const line = new AttackLine({ node: holder, authorities: member.authorities, certificate, sni: swarm })
  expect(await line.ready).toBe(true)
  line.sendHandshakes(swarm, member.node)
  const prover = proverFor(cluster, token)
  line.sendProof({ signingInput: prover.signingInput, proof: prover.prove(line.binding()) })
  return line
}

attackTest(`an honest node is served while ${LINKS_MAX} ids hold every place and move nothing`, async () => {
  const lines: AttackLine[] = []
  for (let at = 0; at < LINKS_MAX; at += 1) {
    const member = await enrol(target.cluster)
    lines.push(await occupy(member))
    await member.tracker.close()
  }
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  expect(lines.filter(({ socket }) => !socket.destroyed)).toHaveLength(LINKS_MAX)
  await expectServesHonestly(target)
  for (const line of lines) line.destroy()
})

expectUnharmed(target)
