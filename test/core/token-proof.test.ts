import { createHash, randomBytes } from 'node:crypto'
import { ed25519 } from '@noble/curves/ed25519.js'
import { p256 } from '@noble/curves/nist.js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { thumbprintOf } from '../../core/token-algorithms.ts'
import { es256 } from '../../core/token-proof/ecdsa.ts'
import { bytesOf, integerOf, randomBelow, reduced } from '../../core/token-proof/encoding.ts'
import { rs256 } from '../../core/token-proof/guillou-quisquater.ts'
import {
  PROOF_BYTES_MAX,
  type ProofBinding,
  prepareProver,
  TokenProofError,
  verifyTokenProof,
} from '../../core/token-proof/index.ts'
import { challengeOf } from '../../core/token-proof/transcript.ts'
import { makeSigner, pullClaims, type Signer, signatureOf, signingInputOf } from './signed-tokens.ts'

const ALGORITHMS = ['ES256', 'ES384', 'EdDSA', 'RS256', 'RS384', 'RS512']
const RUNS = { numRuns: 40 }

function makeBinding(): ProofBinding {
  return {
    role: 'dialler',
    exporter: randomBytes(32),
    proverCertificate: randomBytes(32),
    verifierCertificate: randomBytes(32),
  }
}

function makeProof(signer: Signer, claims = pullClaims('team/app')) {
  const jwt = signer.sign(claims)
  const binding = makeBinding()
  const prover = prepareProver(jwt, signer.publicJwk)
  return {
    jwt,
    prover,
    presented: {
      signingInput: prover.signingInput,
      proof: prover.prove(binding),
      key: signer.publicJwk,
      binding,
    },
  }
}

type Presented = ReturnType<typeof makeProof>['presented']

function expectRefused(presented: Presented): void {
  expect(() => verifyTokenProof(presented)).toThrowError(TokenProofError)
}

function withBitFlipped(bytes: Buffer, bit: number): Buffer {
  const changed = Buffer.from(bytes)
  changed[bit >> 3] = changed[bit >> 3]! ^ (1 << (bit & 7))
  return changed
}

/** Any 8 bytes in a row: what chance repeats once in 2^64. */
function sharesBytes(haystack: Buffer, secret: Buffer): boolean {
  for (let at = 0; at + 8 <= secret.length; at++) {
    if (haystack.includes(secret.subarray(at, at + 8))) return true
  }
  return false
}

describe.each(ALGORITHMS)('a proof for a token signed with %s', (algorithm) => {
  const signer = makeSigner(algorithm)
  const { jwt, prover, presented } = makeProof(signer)

  it('is accepted on the connection that it was made for', () => {
    expect(verifyTokenProof(presented)).toBeUndefined()
    expect(presented.signingInput).toBe(signingInputOf(jwt))
    expect(presented.proof.length).toBeLessThanOrEqual(PROOF_BYTES_MAX)
  })

  it('is made of fresh randomness every time', () => {
    const again = prover.prove(presented.binding)
    expect(again.equals(presented.proof)).toBe(false)
    verifyTokenProof({ ...presented, proof: again })
  })

  it('does not contain the secret half of the signature', () => {
    const signature = signatureOf(jwt)
    const secret = algorithm.startsWith('RS') ? signature : signature.subarray(signature.length / 2)
    for (const order of [secret, Buffer.from(secret).reverse()]) {
      expect(sharesBytes(presented.proof, order)).toBe(false)
    }
  })

  it('is refused with any one of its bits changed', () => {
    const bits = fc.integer({ min: 0, max: presented.proof.length * 8 - 1 })
    fc.assert(
      fc.property(bits, (bit) =>
        expectRefused({ ...presented, proof: withBitFlipped(presented.proof, bit) }),
      ),
      RUNS,
    )
  })

  it('is refused cut short, with bytes added, or empty', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: presented.proof.length - 1 }), (length) =>
        expectRefused({ ...presented, proof: presented.proof.subarray(0, length) }),
      ),
      RUNS,
    )
    expectRefused({ ...presented, proof: Buffer.concat([presented.proof, Buffer.alloc(1)]) })
    expectRefused({ ...presented, proof: Buffer.alloc(PROOF_BYTES_MAX + 1, 1) })
  })

  it('is refused when it is noise of the right length', () => {
    const noise = fc.uint8Array({
      minLength: presented.proof.length - 1,
      maxLength: presented.proof.length - 1,
    })
    fc.assert(
      fc.property(noise, (body) =>
        expectRefused({ ...presented, proof: Buffer.concat([Buffer.of(1), body]) }),
      ),
      RUNS,
    )
  })

  it('is refused on a connection that differs in any bit of what it is bound to', () => {
    const field = fc.constantFrom('exporter', 'proverCertificate', 'verifierCertificate' as const)
    fc.assert(
      fc.property(field, fc.integer({ min: 0, max: 255 }), (name, bit) => {
        const key = name as 'exporter' | 'proverCertificate' | 'verifierCertificate'
        const binding = { ...presented.binding, [key]: withBitFlipped(presented.binding[key], bit) }
        expectRefused({ ...presented, binding })
      }),
      RUNS,
    )
  })

  it('is refused in the other role, and sent back to its maker', () => {
    const { role: _, proverCertificate, verifierCertificate, exporter } = presented.binding
    expectRefused({ ...presented, binding: { ...presented.binding, role: 'acceptor' } })
    const mirrored = {
      exporter,
      proverCertificate: verifierCertificate,
      verifierCertificate: proverCertificate,
    }
    expectRefused({ ...presented, binding: { role: 'acceptor', ...mirrored } })
    expectRefused({ ...presented, binding: { role: 'dialler', ...mirrored } })
  })

  it('is refused for another token of the same key', () => {
    const other = makeProof(signer, pullClaims('team/other')).presented
    expectRefused({ ...presented, signingInput: other.signingInput })
    expectRefused({ ...presented, proof: other.proof })
  })

  it('is refused under another key', () => {
    expectRefused({ ...presented, key: makeSigner(algorithm).publicJwk })
  })

  it('cannot be made for a token that the key did not sign', () => {
    const stranger = makeSigner(algorithm)
    const forged = stranger.sign(pullClaims('team/app'))
    expect(() => prepareProver(forged, signer.publicJwk)).toThrowError(TokenProofError)
    // The stranger's own key convinces only those who trust that key.
    expectRefused({ ...makeProof(stranger).presented, key: signer.publicJwk })
  })

  it('is refused under a key of another kind', () => {
    const other = makeSigner(algorithm === 'EdDSA' ? 'ES256' : 'EdDSA')
    expectRefused({ ...presented, key: other.publicJwk })
  })
})

describe('tokens that admit no proof', () => {
  it.each([
    ['ES512', {}, 'TOKEN_PROOF_UNSUPPORTED'],
    // Keys that no token is verified with, so that there is nothing to prove either.
    ['RS256', { exponent: 3 }, 'TOKEN_PROOF'],
    ['RS256', { bits: 4104 }, 'TOKEN_PROOF'],
  ])('%s with %j is refused on both sides', (algorithm, rsa, code) => {
    const signer = makeSigner(algorithm, rsa)
    const jwt = signer.sign(pullClaims('team/app'))
    const refused = expect.objectContaining({ code })
    expect(() => prepareProver(jwt, signer.publicJwk)).toThrowError(refused)
    const presented = { signingInput: signingInputOf(jwt), key: signer.publicJwk, binding: makeBinding() }
    expect(() => verifyTokenProof({ ...presented, proof: Buffer.alloc(4097, 1) })).toThrowError(refused)
  })
})

describe('an ECDSA proof', () => {
  const signer = makeSigner('ES256')
  const { presented } = makeProof(signer)
  const { Point } = p256
  const order = Point.Fn.ORDER
  const parts = [
    presented.proof.subarray(1, 34),
    presented.proof.subarray(34, 67),
    presented.proof.subarray(67),
  ]
  const withParts = (changes: Record<number, Buffer>) => ({
    ...presented,
    proof: Buffer.concat([Buffer.of(1), ...parts.map((part, index) => changes[index] ?? part)]),
  })

  it('is refused with an answer of zero, or of the group order', () => {
    expectRefused(withParts({ 2: bytesOf(0n, 32) }))
    expectRefused(withParts({ 2: bytesOf(order, 32) }))
  })

  it('is refused with the identity, a point off the curve, or an uncompressed one', () => {
    const offCurve = Buffer.concat([Buffer.of(2), bytesOf(Point.Fp.ORDER, 32)])
    for (const index of [0, 1]) {
      expectRefused(withParts({ [index]: Buffer.alloc(33) }))
      expectRefused(withParts({ [index]: offCurve }))
      expectRefused(withParts({ [index]: Buffer.from(Point.fromBytes(parts[index]!).toBytes(false)) }))
    }
  })

  it('could have been made up by anyone who may choose the challenge, and by no one who may not', () => {
    // Zero knowledge: R, challenge and answer at random, the commitment computed backwards. No signature is involved.
    const statement = { signingInput: presented.signingInput, key: signer.publicJwk }
    const nonce = Point.BASE.multiply(randomBelow(order))
    const [challenge, answer] = [randomBelow(order), randomBelow(order)]
    const publicPoint = Point.fromBytes(
      Buffer.concat([
        Buffer.of(4),
        ...['x', 'y'].map((name) => Buffer.from(String(signer.publicJwk[name]), 'base64url')),
      ]),
    )
    const hash = integerOf(createHash('sha256').update(presented.signingInput).digest())
    const signed = Point.BASE.multiply(reduced(hash, order)).add(
      publicPoint.multiply(reduced(nonce.x, order)),
    )
    const commitment = nonce.multiply(answer).subtract(signed.multiply(challenge))
    const body = Buffer.concat([nonce.toBytes(true), commitment.toBytes(true), bytesOf(answer, 32)])
    expect(es256.verify(statement, body, () => bytesOf(challenge, 64))).toBeUndefined()
    expectRefused({ ...presented, proof: Buffer.concat([Buffer.of(1), body]) })
  })
})

describe('an Ed25519 proof', () => {
  const signer = makeSigner('EdDSA')
  const { presented } = makeProof(signer)
  const { Point } = ed25519
  const withPart = (index: 0 | 1, part: Uint8Array) => {
    const proof = Buffer.from(presented.proof)
    proof.set(part, 1 + 32 * index)
    return { ...presented, proof }
  }
  /** A point of order 8, from the list of RFC 8032's small-order points. */
  const torsion = Point.fromHex('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05')

  it('is refused with the identity or a point of small order', () => {
    for (const index of [0, 1] as const) {
      expectRefused(withPart(index, Point.ZERO.toBytes()))
      expectRefused(withPart(index, torsion.toBytes()))
    }
  })

  describe('with a point outside the group of prime order', () => {
    /** Only who holds the signing key can make one. */
    function proofWith(added: { nonce: typeof torsion; commitment: typeof torsion; key: typeof torsion }) {
      const seed = Buffer.from(signer.privateJwk.d!, 'base64url')
      const { scalar, point } = ed25519.utils.getExtendedPublicKey(seed)
      const keyBytes = Buffer.from(point.add(added.key).toBytes())
      const key = { ...signer.publicJwk, x: keyBytes.toString('base64url') }
      const r = randomBelow(Point.Fn.ORDER)
      const nonce = Buffer.from(Point.BASE.multiply(r).add(added.nonce).toBytes())
      const hash = createHash('sha512').update(nonce).update(keyBytes).update(presented.signingInput).digest()
      const s = reduced(r + integerOf(hash.reverse()) * scalar, Point.Fn.ORDER)
      for (;;) {
        const k = randomBelow(Point.Fn.ORDER)
        const commitment = Buffer.from(Point.BASE.multiply(k).subtract(added.commitment).toBytes())
        const transcript = { ...presented, algorithm: 'EdDSA' as const, thumbprint: thumbprintOf(key) }
        const challenge = integerOf(challengeOf(transcript, [nonce, commitment]))
        // A guess at what the challenge does to a point of order 8: -c mod L multiplies it by -1.
        if (added.commitment !== Point.ZERO && reduced(-challenge, Point.Fn.ORDER) % 8n !== 7n) continue
        const answer = bytesOf(reduced(k + challenge * s, Point.Fn.ORDER), 32)
        return { ...presented, key, proof: Buffer.concat([Buffer.of(1), nonce, commitment, answer]) }
      }
    }
    const nothing = { nonce: Point.ZERO, commitment: Point.ZERO, key: Point.ZERO }

    it('is refused, though the equation holds in the whole group', () => {
      expect(verifyTokenProof(proofWith(nothing))).toBeUndefined()
      expectRefused(proofWith({ ...nothing, nonce: torsion, commitment: torsion }))
    })

    it.each(['nonce', 'commitment', 'key'] as const)(
      'is refused for its %s, though the equation holds without the part of small order',
      (name) => expectRefused(proofWith({ ...nothing, [name]: torsion })),
    )
  })

  it('is refused with an encoding that is not canonical', () => {
    const aboveField = Buffer.from(bytesOf(Point.Fp.ORDER + 3n, 32)).reverse()
    for (const index of [0, 1] as const) expectRefused(withPart(index, aboveField))
  })

  it('is refused with an answer of zero, or raised by the group order', () => {
    const raised = integerOf(presented.proof.subarray(65)) + Point.Fn.ORDER
    for (const answer of [0n, Point.Fn.ORDER, raised]) {
      expectRefused({
        ...presented,
        proof: Buffer.concat([presented.proof.subarray(0, 65), bytesOf(answer, 32)]),
      })
    }
  })
})

describe('an RSA proof', () => {
  const signer = makeSigner('RS256')
  const { presented } = makeProof(signer)
  const modulus = integerOf(Buffer.from(signer.publicJwk.n!, 'base64url'))
  const prime = integerOf(Buffer.from(signer.privateJwk.p!, 'base64url'))
  const withNumbers = (number: (index: number) => bigint) => {
    const body = Array.from({ length: 16 }, (_, index) => bytesOf(number(index), 256))
    return { ...presented, proof: Buffer.concat([Buffer.of(1), ...body]) }
  }
  const original = (index: number) => integerOf(presented.proof.subarray(1 + 256 * index, 257 + 256 * index))

  it('is accepted for moduli of 3072 and 4096 bits', () => {
    for (const bits of [3072, 4096]) verifyTokenProof(makeProof(makeSigner('RS256', { bits })).presented)
  })

  it('is refused when all its numbers are zero, though the equations hold', () => {
    expectRefused(withNumbers(() => 0n))
  })

  it('is refused when any number is the modulus or above', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 15 }), (at) =>
        expectRefused(withNumbers((index) => (index === at ? modulus : original(index)))),
      ),
      { numRuns: 16 },
    )
  })

  it('is refused when a commitment and its answer are not coprime to the modulus, though the equations hold', () => {
    const { jwt, presented } = makeProof(signer)
    const signature = integerOf(signatureOf(jwt))
    const proofWith = (nonce: () => bigint) => {
      const nonces = Array.from({ length: 8 }, nonce)
      const commitments = nonces.map((value) => bytesOf(powerOf(value, 65537n, modulus), 256))
      const thumbprint = thumbprintOf(signer.publicJwk)
      const transcript = { ...presented, algorithm: 'RS256' as const, thumbprint }
      const challenge = challengeOf(transcript, commitments)
      const answers = nonces.map((value, round) => {
        const power = powerOf(signature, BigInt(challenge.readUInt16BE(2 * round)), modulus)
        return bytesOf((value * power) % modulus, 256)
      })
      return { ...presented, proof: Buffer.concat([Buffer.of(1), ...commitments, ...answers]) }
    }
    expect(verifyTokenProof(proofWith(() => randomBelow(modulus)))).toBeUndefined()
    expectRefused(proofWith(() => (randomBelow(modulus) * prime) % modulus))
  })

  it('could have been made up by anyone who may choose the challenge, and by no one who may not', () => {
    const statement = { signingInput: presented.signingInput, key: signer.publicJwk }
    // With challenges of zero the equations are a^e = Y: no signature is needed.
    const answers = Array.from({ length: 8 }, () => randomBelow(modulus))
    const numbers = [...answers.map((answer) => powerOf(answer, 65537n, modulus)), ...answers]
    const body = Buffer.concat(numbers.map((number) => bytesOf(number, 256)))
    expect(rs256.verify(statement, body, () => Buffer.alloc(64))).toBeUndefined()
    expectRefused({ ...presented, proof: Buffer.concat([Buffer.of(1), body]) })
  })

  it('is what plain arithmetic says, for every challenge', () => {
    const { jwt, presented } = makeProof(signer)
    const statement = { signingInput: presented.signingInput, key: signer.publicJwk }
    const prove = rs256.prepare(statement, signatureOf(jwt))
    const encoded = powerOf(integerOf(signatureOf(jwt)), 65537n, modulus)
    const edges = fc.constantFrom(0, 1, 2, 3, 4, 0x4000, 0x5555, 0xaaaa, 0xc000, 0xffff)
    const rounds = fc.array(fc.oneof(edges, fc.integer({ min: 0, max: 0xffff })), {
      minLength: 8,
      maxLength: 8,
    })
    const everyRound = fc.property(rounds, fc.integer({ min: 0, max: 7 }), (challenges, other) => {
      const challenge = Buffer.concat(
        challenges.map((value) => bytesOf(BigInt(value), 2)),
        64,
      )
      const body = prove(() => challenge)
      const number = (index: number) => integerOf(body.subarray(256 * index, 256 * (index + 1)))
      for (const [round, value] of challenges.entries()) {
        const right = (number(round) * powerOf(encoded, BigInt(value), modulus)) % modulus
        expect(powerOf(number(8 + round), 65537n, modulus)).toBe(right)
      }
      expect(rs256.verify(statement, body, () => challenge)).toBeUndefined()
      const changed = Buffer.from(challenge)
      changed[2 * other + 1] = changed[2 * other + 1]! ^ 1
      expect(() => rs256.verify(statement, body, () => changed)).toThrowError(TokenProofError)
    })
    fc.assert(everyRound, { numRuns: 20 })
  })

  it('is refused when one round out of eight does not hold', () => {
    const oneRound = withNumbers((index) =>
      index === 15 ? (original(index) * 2n) % modulus : original(index),
    )
    expectRefused(oneRound)
  })
})

describe('the transcript', () => {
  const transcript = {
    binding: makeBinding(),
    algorithm: 'ES256' as const,
    thumbprint: randomBytes(32),
    signingInput: 'aaaa.bbbb',
  }

  it('covers every commitment, in order and with its bounds', () => {
    const commitments = fc.array(fc.uint8Array({ minLength: 1, maxLength: 4 }), {
      minLength: 1,
      maxLength: 4,
    })
    fc.assert(
      fc.property(commitments, commitments, (one, other) => {
        const isSame = JSON.stringify(one.map((c) => [...c])) === JSON.stringify(other.map((c) => [...c]))
        expect(challengeOf(transcript, one).equals(challengeOf(transcript, other))).toBe(isSame)
      }),
    )
    const split = [Buffer.of(1, 2), Buffer.of(3)]
    const splitElsewhere = [Buffer.of(1), Buffer.of(2, 3)]
    expect(challengeOf(transcript, split).equals(challengeOf(transcript, splitElsewhere))).toBe(false)
  })

  it('covers algorithm, key and signing input', () => {
    const original = challengeOf(transcript, [])
    const changes = [
      { algorithm: 'ES384' as const },
      { thumbprint: randomBytes(32) },
      { signingInput: 'aaaa.bbbc' },
    ]
    for (const change of changes) {
      expect(challengeOf({ ...transcript, ...change }, []).equals(original)).toBe(false)
    }
  })

  it('refuses an exporter or fingerprint of another length', () => {
    const binding = { ...transcript.binding, exporter: Buffer.alloc(0) }
    expect(() => challengeOf({ ...transcript, binding }, [])).toThrowError()
  })
})

describe('random scalars', () => {
  it('reach every value in their range and none outside', () => {
    const drawn = new Set(Array.from({ length: 2000 }, () => randomBelow(11n)))
    expect([...drawn].sort((a, b) => Number(a - b))).toEqual([1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n, 10n])
  })
})

function powerOf(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let product = 1n
  for (let rest = exponent, square = base; rest > 0n; rest >>= 1n, square = (square * square) % modulus) {
    if (rest & 1n) product = (product * square) % modulus
  }
  return product
}
