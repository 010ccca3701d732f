import { createECDH, ECDH } from 'node:crypto'
import { normalizeZ } from '@noble/curves/abstract/curve.js'
import { p256 } from '@noble/curves/nist.js'
import {
  type CurveArithmetic,
  type CurvePoint,
  type Equation,
  libraryArithmetic,
} from './curve-arithmetic.ts'
import { bytesOf, integerOf, randomBelow, reduced } from './encoding.ts'

/**
 * P-256 with OpenSSL's products (docs/decisions/0002-token-proof.md has the argument and the cost).
 * ECDH gives k·G in full, but only the abscissa of k·P. Both run in constant time and check range and point.
 */
const OPENSSL_NAME = 'prime256v1'

const { Point } = p256
const { Fn, Fp } = Point
const { a, b } = Point.CURVE()
const library = libraryArithmetic(p256)

/** 0·G is the identity. */
function timesBase(k: bigint, ecdh = newEcdh()): CurvePoint {
  if (k === 0n) return Point.ZERO
  ecdh.setPrivateKey(bytesOf(k, Fn.BYTES))
  return pointFromOpenssl(ecdh.getPublicKey())
}

/** The abscissa of k·point, 0 < k < n. OpenSSL refuses bytes that are no point of the curve. */
function abscissaOfProduct(uncompressed: Uint8Array, k: bigint, ecdh: ECDH): bigint {
  ecdh.setPrivateKey(bytesOf(k, Fn.BYTES))
  return integerOf(ecdh.computeSecret(uncompressed))
}

/** It keeps its last factor: a new one for secret factors. */
function newEcdh(): ECDH {
  return createECDH(OPENSSL_NAME)
}

/** A point in OpenSSL's own uncompressed form, so that it is of the curve. */
function pointFromOpenssl(uncompressed: Buffer): CurvePoint {
  const ordinateAt = 1 + Fp.BYTES
  return Point.fromAffine({
    x: integerOf(uncompressed.subarray(1, ordinateAt)),
    y: integerOf(uncompressed.subarray(ordinateAt)),
  })
}

/**
 * A function that returns k·point, 0 < k < n. The product's ordinate follows from its abscissa and that of
 * (k + 1)·point, which is what adding `point` gives (Brier and Joye, PKC 2002, §3). Only for n - 1 is that the identity.
 */
function multiplierOf(point: CurvePoint): (k: bigint) => CurvePoint {
  const { x: px, y: py } = point.toAffine()
  const uncompressed = Point.fromAffine({ x: px, y: py }).toBytes(false)
  const inverse = Fp.inv(2n * py)
  return (k) => {
    if (k === Fn.ORDER - 1n) return point.negate()
    const ecdh = newEcdh()
    const x = abscissaOfProduct(uncompressed, k, ecdh)
    const next = abscissaOfProduct(uncompressed, k + 1n, ecdh)
    const doubled = 2n * b + (a + px * x) * (px + x) - next * (px - x) ** 2n
    const product = Point.fromAffine({ x, y: reduced(doubled * inverse, Fp.ORDER) })
    // Two abscissae that do not belong together give no point of the curve.
    product.assertValidity()
    return product
  }
}

/**
 * Adds a random multiple of G to R and Q, and the difference to A. Then it compares abscissae: of t·R' - v·Q' = A', the
 * signs of all three terms are lost. Each wrong choice of signs holds for one of n values of the random factor at most.
 * @param draw for tests
 */
export function holds(equation: Equation, draw: (below: bigint) => bigint = randomBelow): boolean {
  const { R, t, A, u, Q, v } = equation
  const ecdh = newEcdh()
  const factor = draw(Fn.ORDER)
  const blinding = timesBase(factor, ecdh)
  const difference = timesBase(reduced(u + (t - v) * factor, Fn.ORDER), ecdh)
  const blinded = [R.add(blinding), Q.add(blinding), A.add(difference)]
  // With t = v the factor would cancel out of one wrong choice, and the identity has no abscissa. No honest proof meets
  // either by chance (2^-253).
  const isDegenerate = t === 0n || v === 0n || t === v || blinded.some((point) => point.is0())
  if (isDegenerate) return library.holds(equation)
  const [blindedR, blindedQ, blindedA] = normalizeZ(Point, blinded)
  const abscissae = [
    abscissaOfProduct(blindedR!.toBytes(false), t, ecdh),
    abscissaOfProduct(blindedQ!.toBytes(false), v, ecdh),
  ] as const
  return isZeroSum(...abscissae, blindedA!.x)
}

/**
 * Whether points with these abscissae have the sum zero for some choice of their signs: Semaev's third summation
 * polynomial (IACR 2004/031, theorem 1).
 */
export function isZeroSum(x1: bigint, x2: bigint, x3: bigint): boolean {
  const sum = x1 + x2
  const product = x1 * x2
  const value =
    (x1 - x2) ** 2n * x3 ** 2n - 2n * ((product + a) * sum + 2n * b) * x3 + (product - a) ** 2n - 4n * b * sum
  return value % Fp.ORDER === 0n
}

export const p256Arithmetic: CurveArithmetic = {
  curve: p256,
  decompress(bytes) {
    // OpenSSL reads other forms too, but none of them has this length.
    if (bytes.length !== Fp.BYTES + 1) throw new RangeError(`${bytes.length} bytes, not ${Fp.BYTES + 1}`)
    return pointFromOpenssl(
      ECDH.convertKey(bytes, OPENSSL_NAME, undefined, undefined, 'uncompressed') as Buffer,
    )
  },
  timesBase: (k) => timesBase(k),
  multiplierOf,
  holds: (equation) => holds(equation),
}
