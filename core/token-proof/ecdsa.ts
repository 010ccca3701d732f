import { createHash, type JsonWebKey } from 'node:crypto'
import { p384 } from '@noble/curves/nist.js'
import { type CurveArithmetic, type CurvePoint, libraryArithmetic } from './curve-arithmetic.ts'
import { bytesOf, checkedAnswer, fieldsOf, integerOf, randomBelow, reduced } from './encoding.ts'
import { TokenProofError } from './errors.ts'
import { p256Arithmetic } from './p256-arithmetic.ts'
import type { Challenger, ProofScheme, Statement } from './scheme.ts'

/**
 * ES256 and ES384 (RFC 7518 §3.4). An ECDSA signature (r, s) on hash z under key Q holds when s·R = z·G + r·Q for the
 * point R with R.x mod n = r. The proof reveals R and shows, by Schnorr's protocol with base R, knowledge of s.
 * Body: R, commitment A = k·R (compressed points, SEC 1 §2.3.3), answer t = k + c·s mod n.
 */
export class EcdsaProof implements ProofScheme {
  readonly #arithmetic: CurveArithmetic
  readonly #hash: 'sha256' | 'sha384'

  constructor(arithmetic: CurveArithmetic, hash: 'sha256' | 'sha384') {
    this.#arithmetic = arithmetic
    this.#hash = hash
  }

  get #order(): bigint {
    return this.#arithmetic.curve.Point.Fn.ORDER
  }

  get #scalarBytes(): number {
    return this.#arithmetic.curve.Point.Fn.BYTES
  }

  prepare(statement: Statement, signature: Buffer): (challenger: Challenger) => Buffer {
    const [rBytes, sBytes] = fieldsOf(signature, [this.#scalarBytes, this.#scalarBytes])
    const s = checkedAnswer(integerOf(sBytes!), this.#order)
    const nonce = this.#noncePoint(statement, integerOf(rBytes!), s)
    const nonceBytes = nonce.toBytes(true)
    const timesNonce = this.#arithmetic.multiplierOf(nonce)
    return (challenger) => {
      const k = randomBelow(this.#order)
      const commitment = timesNonce(k).toBytes(true)
      const challenge = integerOf(challenger([nonceBytes, commitment]))
      const answer = reduced(k + challenge * s, this.#order)
      return Buffer.concat([nonceBytes, commitment, bytesOf(answer, this.#scalarBytes)])
    }
  }

  verify(statement: Statement, body: Buffer, challenger: Challenger): void {
    const pointBytes = 1 + this.#arithmetic.curve.Point.Fp.BYTES
    const [nonceBytes, commitmentBytes, answerBytes] = fieldsOf(body, [
      pointBytes,
      pointBytes,
      this.#scalarBytes,
    ])
    const nonce = this.#pointOf(nonceBytes!)
    const r = this.#checkedR(nonce)
    const answer = checkedAnswer(integerOf(answerBytes!), this.#order)
    const commitment = this.#pointOf(commitmentBytes!)
    const challenge = integerOf(challenger([nonceBytes!, commitmentBytes!]))
    // t·R = A + c·(z·G + r·Q)
    const isProven = this.#arithmetic.holds({
      R: nonce,
      t: answer,
      A: commitment,
      u: reduced(challenge * this.#hashOf(statement), this.#order),
      Q: this.#publicPoint(statement.key),
      v: reduced(challenge * r, this.#order),
    })
    if (!isProven) throw new TokenProofError('the proof does not hold')
  }

  /** R = (z/s)·G + (r/s)·Q, affine. Both factors are secret: with z public they would give s away. */
  #noncePoint(statement: Statement, r: bigint, s: bigint): CurvePoint {
    const { Point } = this.#arithmetic.curve
    const { Fn } = Point
    const inverse = this.#inverseOf(s)
    const timesKey = this.#arithmetic.multiplierOf(this.#publicPoint(statement.key))
    const fromBase = this.#arithmetic.timesBase(Fn.mul(Fn.create(this.#hashOf(statement)), inverse))
    const nonce = Point.fromAffine(fromBase.add(timesKey(Fn.mul(r, inverse))).toAffine())
    if (this.#checkedR(nonce) !== r) throw new TokenProofError('the token is not signed by this key')
    return nonce
  }

  /** 1/s. Euclid's algorithm takes as long as its input makes it: it sees s only times a random factor. */
  #inverseOf(s: bigint): bigint {
    const { Fn } = this.#arithmetic.curve.Point
    const mask = randomBelow(this.#order)
    return Fn.mul(Fn.inv(Fn.mul(s, mask)), mask)
  }

  #checkedR(nonce: CurvePoint): bigint {
    const r = nonce.is0() ? 0n : reduced(nonce.x, this.#order)
    if (r === 0n) throw new TokenProofError('r is zero')
    return r
  }

  /** Only compressed points on the curve. Both curves have cofactor 1. */
  #pointOf(bytes: Buffer): CurvePoint {
    try {
      return this.#arithmetic.decompress(bytes)
    } catch (cause) {
      throw new TokenProofError('not a point of the curve', { cause })
    }
  }

  /** From a key that OpenSSL has read, so that it is on the curve; the library checks it once more. */
  #publicPoint(key: JsonWebKey): CurvePoint {
    const affine = [key.x, key.y].map((coordinate) => Buffer.from(coordinate ?? '', 'base64url'))
    try {
      return this.#arithmetic.curve.Point.fromBytes(Buffer.concat([Buffer.of(4), ...affine]))
    } catch (cause) {
      throw new TokenProofError('not a point of the curve', { cause })
    }
  }

  /** z. For both algorithms the hash is as long as the group order, so nothing is cut off. */
  #hashOf(statement: Statement): bigint {
    return integerOf(createHash(this.#hash).update(statement.signingInput).digest())
  }
}

export const es256: ProofScheme = new EcdsaProof(p256Arithmetic, 'sha256')
export const es384: ProofScheme = new EcdsaProof(libraryArithmetic(p384), 'sha384')
