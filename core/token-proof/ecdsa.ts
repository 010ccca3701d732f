import { createHash, type JsonWebKey } from 'node:crypto'
import { mulAddUnsafe } from '@noble/curves/abstract/curve.js'
import type { WeierstrassPoint } from '@noble/curves/abstract/weierstrass.js'
import { p256, p384 } from '@noble/curves/nist.js'
import { bytesOf, checkedAnswer, fieldsOf, integerOf, randomBelow, reduced } from './encoding.ts'
import { TokenProofError } from './errors.ts'
import type { Challenger, ProofScheme, Statement } from './scheme.ts'

/**
 * ES256 and ES384 (RFC 7518 §3.4). An ECDSA signature (r, s) on hash z under key Q holds when s·R = z·G + r·Q for the
 * point R with R.x mod n = r. The proof reveals R and shows, by Schnorr's protocol with base R, knowledge of s.
 * Body: R, commitment A = k·R (compressed points, SEC 1 §2.3.3), answer t = k + c·s mod n.
 */
type Point = WeierstrassPoint<bigint>

/**
 * The proofs of all connections multiply the same point. With a table of its multiples that costs a quarter. The table
 * costs as much as two proofs (128 KiB, kept as long as the prover), so it pays only after this many proofs.
 */
const PROOFS_WITHOUT_TABLE = 3
const TABLE_WINDOW_BITS = 4

type Curve = typeof p256

class EcdsaProof implements ProofScheme {
  readonly #curve: Curve
  readonly #hash: 'sha256' | 'sha384'

  constructor(curve: Curve, hash: 'sha256' | 'sha384') {
    this.#curve = curve
    this.#hash = hash
  }

  get #order(): bigint {
    return this.#curve.Point.Fn.ORDER
  }

  get #scalarBytes(): number {
    return this.#curve.Point.Fn.BYTES
  }

  prepare(statement: Statement, signature: Buffer): (challenger: Challenger) => Buffer {
    const [rBytes, sBytes] = fieldsOf(signature, [this.#scalarBytes, this.#scalarBytes])
    const s = checkedAnswer(integerOf(sBytes!), this.#order)
    const nonce = this.#noncePoint(statement, integerOf(rBytes!), s)
    const nonceBytes = nonce.toBytes(true)
    let proofs = 0
    return (challenger) => {
      if (proofs === PROOFS_WITHOUT_TABLE) nonce.precompute(TABLE_WINDOW_BITS)
      proofs += 1
      const k = randomBelow(this.#order)
      // `multiply` runs in constant time, with and without the table: k, like s, is secret.
      const commitment = nonce.multiply(k).toBytes(true)
      const challenge = integerOf(challenger([nonceBytes, commitment]))
      const answer = reduced(k + challenge * s, this.#order)
      return Buffer.concat([nonceBytes, commitment, bytesOf(answer, this.#scalarBytes)])
    }
  }

  verify(statement: Statement, body: Buffer, challenger: Challenger): void {
    const pointBytes = 1 + this.#curve.Point.Fp.BYTES
    const [nonceBytes, commitment, answerBytes] = fieldsOf(body, [pointBytes, pointBytes, this.#scalarBytes])
    const nonce = this.#pointOf(nonceBytes!)
    const r = this.#checkedR(nonce)
    const answer = checkedAnswer(integerOf(answerBytes!), this.#order)
    const minusChallenge = -integerOf(challenger([nonceBytes!, commitment!]))
    const scalars = [answer, minusChallenge * this.#hashOf(statement), minusChallenge * r]
    // t·R - c·(z·G + r·Q) = A
    const { Point } = this.#curve
    const combined = mulAddUnsafe(
      Point,
      [nonce, Point.BASE, this.#publicPoint(statement.key)],
      scalars.map((scalar) => reduced(scalar, this.#order)),
    )
    if (!combined.equals(this.#pointOf(commitment!))) throw new TokenProofError('the proof does not hold')
  }

  /** R = (z/s)·G + (r/s)·Q. Both factors are secret: with z public they would give s away. */
  #noncePoint(statement: Statement, r: bigint, s: bigint): Point {
    const { Point } = this.#curve
    const { Fn } = Point
    const inverse = Fn.inv(s)
    // Make a new point: the library's has a table of 2,000 multiples, which one product per token does not justify.
    const base = Point.fromAffine(Point.BASE.toAffine())
    const fromBase = base.multiply(Fn.mul(Fn.create(this.#hashOf(statement)), inverse))
    const nonce = fromBase.add(this.#publicPoint(statement.key).multiply(Fn.mul(r, inverse)))
    if (this.#checkedR(nonce) !== r) throw new TokenProofError('the token is not signed by this key')
    return nonce
  }

  #checkedR(nonce: Point): bigint {
    const r = nonce.is0() ? 0n : reduced(nonce.x, this.#order)
    if (r === 0n) throw new TokenProofError('r is zero')
    return r
  }

  /** Only compressed points on the curve; the identity has no such encoding. Both curves have cofactor 1. */
  #pointOf(bytes: Buffer): Point {
    try {
      return this.#curve.Point.fromBytes(bytes)
    } catch (cause) {
      throw new TokenProofError('not a point of the curve', { cause })
    }
  }

  #publicPoint(key: JsonWebKey): Point {
    const affine = [key.x, key.y].map((coordinate) => Buffer.from(coordinate ?? '', 'base64url'))
    return this.#pointOf(Buffer.concat([Buffer.of(4), ...affine]))
  }

  /** z. For both algorithms the hash is as long as the group order, so nothing is cut off. */
  #hashOf(statement: Statement): bigint {
    return integerOf(createHash(this.#hash).update(statement.signingInput).digest())
  }
}

export const es256: ProofScheme = new EcdsaProof(p256, 'sha256')
export const es384: ProofScheme = new EcdsaProof(p384, 'sha384')
