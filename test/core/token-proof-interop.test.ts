import { createHash, type JsonWebKey, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { p256 } from '@noble/curves/nist.js'
import { describe, expect, it } from 'vitest'
import { libraryArithmetic } from '../../core/token-proof/curve-arithmetic.ts'
import { EcdsaProof, es256 } from '../../core/token-proof/ecdsa.ts'
import { bytesOf, integerOf, reduced } from '../../core/token-proof/encoding.ts'
import { TokenProofError, verifyTokenProof } from '../../core/token-proof/index.ts'
import { makeSigner, pullClaims, signatureOf, signingInputOf } from './signed-tokens.ts'

/** Proofs that Shoal 0.2.0 made. All byte strings are base64url. */
interface Vector {
  algorithm: string
  key: JsonWebKey
  signingInput: string
  role: 'dialler' | 'acceptor'
  exporter: string
  proverCertificate: string
  verifierCertificate: string
  proof: string
}

const bytes = (text: string) => Buffer.from(text, 'base64url')
const vectors = JSON.parse(
  readFileSync(new URL('token-proof-vectors.json', import.meta.url), 'utf8'),
) as Vector[]

describe.each(vectors)('a proof that an earlier version made with $algorithm', (vector) => {
  const binding = {
    role: vector.role,
    exporter: bytes(vector.exporter),
    proverCertificate: bytes(vector.proverCertificate),
    verifierCertificate: bytes(vector.verifierCertificate),
  }
  const presented = {
    signingInput: vector.signingInput,
    key: vector.key,
    proof: bytes(vector.proof),
    binding,
  }

  it('is accepted, and on no other connection', () => {
    expect(verifyTokenProof(presented)).toBeUndefined()
    const elsewhere = { ...presented, binding: { ...binding, exporter: randomBytes(32) } }
    expect(() => verifyTokenProof(elsewhere)).toThrowError(TokenProofError)
  })
})

describe('ES256 by OpenSSL and by the library', () => {
  const reference = new EcdsaProof(libraryArithmetic(p256), 'sha256')
  const order = p256.Point.Fn.ORDER
  const signer = makeSigner('ES256')

  function statementAndSignature() {
    const jwt = signer.sign(pullClaims('team/app'))
    return {
      statement: { signingInput: signingInputOf(jwt), key: signer.publicJwk },
      signature: signatureOf(jwt),
    }
  }

  it("accept and refuse each other's proofs", () => {
    for (let run = 0; run < 20; run++) {
      const { statement, signature } = statementAndSignature()
      const challenger = (commitments: readonly Uint8Array[]) =>
        createHash('sha512').update(Buffer.concat(commitments)).digest()
      const another = () => randomBytes(64)
      for (const prover of [reference, es256]) {
        const prove = prover.prepare(statement, signature)
        // Five, so that the library uses its table too.
        for (let proof = 0; proof < 5; proof++) {
          const body = prove(challenger)
          for (const verifier of [reference, es256]) {
            expect(verifier.verify(statement, body, challenger)).toBeUndefined()
            expect(() => verifier.verify(statement, body, another)).toThrowError(TokenProofError)
          }
        }
      }
    }
  })

  it('give the same verdict whatever the challenge', () => {
    const { statement, signature } = statementAndSignature()
    for (const challenge of [0n, 1n, 2n, order - 1n, order, order + 1n, 2n ** 512n - 1n]) {
      const challenger = () => bytesOf(challenge, 64)
      for (const prover of [reference, es256]) {
        const body = prover.prepare(statement, signature)(challenger)
        // With t replaced by n - t only another sign of R would fit.
        const negated = Buffer.concat([
          body.subarray(0, 66),
          bytesOf(reduced(-integerOf(body.subarray(66)), order), 32),
        ])
        for (const verifier of [reference, es256]) {
          expect(verifier.verify(statement, body, challenger)).toBeUndefined()
          expect(() => verifier.verify(statement, negated, challenger)).toThrowError(TokenProofError)
        }
      }
    }
  })

  it('refuse a proof under the negated key, with a negated nonce point or a negated commitment', () => {
    const { statement, signature } = statementAndSignature()
    const challenger = () => bytesOf(12345n, 64)
    const body = es256.prepare(statement, signature)(challenger)
    const y = integerOf(bytes(signer.publicJwk.y!))
    const negatedKey = {
      ...signer.publicJwk,
      y: bytesOf(p256.Point.Fp.ORDER - y, 32).toString('base64url'),
    }
    // The first byte of a compressed point, 2 or 3, says which of the two.
    const withSignOf = (at: number) => {
      const changed = Buffer.from(body)
      changed[at] = changed[at]! ^ 1
      return changed
    }
    for (const verifier of [reference, es256]) {
      const refused = [
        () => verifier.verify({ ...statement, key: negatedKey }, body, challenger),
        () => verifier.verify(statement, withSignOf(0), challenger),
        () => verifier.verify(statement, withSignOf(33), challenger),
      ]
      for (const attempt of refused) expect(attempt).toThrowError(TokenProofError)
    }
  })
})
