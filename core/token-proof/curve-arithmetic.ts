import { mulAddUnsafe } from '@noble/curves/abstract/curve.js'
import type { WeierstrassPoint } from '@noble/curves/abstract/weierstrass.js'
import type { p256 } from '@noble/curves/nist.js'

export type CurvePoint = WeierstrassPoint<bigint>
export type Curve = typeof p256

/** t·R = A + u·G + v·Q, all public; G is the curve's generator. No point is the identity, all factors are below n. */
export interface Equation {
  R: CurvePoint
  t: bigint
  A: CurvePoint
  u: bigint
  Q: CurvePoint
  v: bigint
}

/** Arithmetic in the group of a curve. Secret factors k, 0 < k < n, are multiplied in constant time. */
export interface CurveArithmetic {
  readonly curve: Curve
  /** @throws unless it is a compressed point (SEC 1 §2.3.3) of the curve; the identity has no such encoding */
  decompress(bytes: Uint8Array): CurvePoint
  /** k·G */
  timesBase(k: bigint): CurvePoint
  /** A function that returns k·point, for many k. */
  multiplierOf(point: CurvePoint): (k: bigint) => CurvePoint
  holds(equation: Equation): boolean
}

/**
 * A table of a point's multiples brings a product to a quarter. It costs as much as two products (128 KiB, kept as long
 * as the multiplier), so it pays only after this many.
 */
const PRODUCTS_WITHOUT_TABLE = 3
const TABLE_WINDOW_BITS = 4

/** Every operation by the library: P-384 in proofs, and P-256 as the reference of `p256-arithmetic.ts`. */
export function libraryArithmetic(curve: Curve): CurveArithmetic {
  const { Point } = curve
  return {
    curve,
    decompress: (bytes) => Point.fromBytes(bytes),
    // Make a new point: the library's has a table of 2,000 multiples, which one product per token does not justify.
    timesBase: (k) => Point.fromAffine(Point.BASE.toAffine()).multiply(k),
    multiplierOf(point) {
      const own = Point.fromAffine(point.toAffine())
      let products = 0
      return (k) => {
        if (products === PRODUCTS_WITHOUT_TABLE) own.precompute(TABLE_WINDOW_BITS)
        products += 1
        return own.multiply(k)
      }
    },
    holds: ({ R, t, A, u, Q, v }) =>
      mulAddUnsafe(Point, [R, Point.BASE, Q], [t, Point.Fn.neg(u), Point.Fn.neg(v)]).equals(A),
  }
}
