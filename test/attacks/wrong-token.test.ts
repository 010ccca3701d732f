import { expect } from 'vitest'
import type { PullClaims } from '../../core/certificate-claims.ts'
import { prepareProver } from '../../core/token-proof/index.ts'
import { pullClaims, signingInputOf } from '../core/signed-tokens.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import { attack, mint, pullClaimsFor, stealAuthority } from './attacker.ts'
import { attackTest, controlTest } from './ledger.ts'
import { expectLogged, expectNothingGiven, expectUnharmed, useTarget } from './target.ts'
import { WRONG_TOKENS, type WrongToken } from './wrong-tokens.ts'

/**
 * Attackers with a pull certificate of the real authority that is bound to exactly the token that they hold: what is
 * wrong is the token. No honest tracker issues these; the tests take the authority's key from the tracker's store.
 */
const target = useTarget()

/** A busy machine needs longer to serve than an attacker is given to be refused. */
const CONTROL_MS = 3_000

/** Tries to be served with this token. */
async function expectRefused(wrong: WrongToken, claims: Partial<PullClaims> = {}): Promise<void> {
  const { cluster, member, blob, holder, swarm } = target
  const { token } = wrong
  const authority = await stealAuthority(cluster, member.cluster)
  const certificate = mint(authority, pullClaimsFor(cluster, member, blob, { token, ...claims }))
  const mark = target.logged.length
  const line = await attack(
    { node: holder, authorities: member.authorities, certificate, sni: swarm },
    (line) => {
      line.sendHandshakes(swarm, member.node)
      line.sendProof({ signingInput: signingInputOf(token), proof: wrong.prove(line.binding()) })
      line.ask()
    },
  )
  expectNothingGiven(line)
  await expectLogged(target, mark, 'PEER_REFUSED')
}

const signed = () =>
  target.cluster.signer.sign(pullClaims(REPOSITORY), { jwk: target.cluster.signer.publicJwk })

controlTest(
  'a minted certificate with the right token is served: the attacks fail for the right reason',
  async () => {
    const { cluster, member, blob, holder, swarm } = target
    const token = signed()
    const certificate = mint(
      await stealAuthority(cluster, member.cluster),
      pullClaimsFor(cluster, member, blob, { token }),
    )
    const line = await attack(
      { node: holder, authorities: member.authorities, certificate, sni: swarm },
      (line) => {
        line.sendHandshakes(swarm, member.node)
        const prover = prepareProver(token, cluster.signer.publicJwk)
        line.sendProof({ signingInput: prover.signingInput, proof: prover.prove(line.binding()) })
        line.ask()
      },
      CONTROL_MS,
    )
    expect(line.blockBytes).toBe(4 * 16384)
  },
)

for (const [what, make] of WRONG_TOKENS) {
  attackTest(`${what} is refused`, async () => {
    const { signer } = target.cluster
    await expectRefused(await make({ signer, header: { jwk: signer.publicJwk } }))
  })
}

attackTest('a right token with a certificate that is bound to another, or to none, is refused', async () => {
  const token = signed()
  const right: WrongToken = {
    token,
    prove: (binding) => prepareProver(token, target.cluster.signer.publicJwk).prove(binding),
  }
  await expectRefused(right, { tokenHash: 'a'.repeat(64) })
  await expectRefused(right, { tokenHash: undefined } as unknown as Partial<PullClaims>)
})

attackTest(
  'a right token with a certificate for another registry is refused before the protocol begins',
  async () => {
    const { cluster, member, blob, holder, swarm } = target
    const token = signed()
    const claims = pullClaimsFor(cluster, member, blob, {
      token,
      registry: 'registry.example:5000' as PullClaims['registry'],
    })
    const certificate = mint(await stealAuthority(cluster, member.cluster), claims)
    const line = await attack(
      { node: holder, authorities: member.authorities, certificate, sni: swarm },
      (line) => line.ask(),
    )
    expect(line.receivedBytes).toBe(0)
  },
)

expectUnharmed(target)
