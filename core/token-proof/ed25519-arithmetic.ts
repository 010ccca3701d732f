import { createPrivateKey, createPublicKey, diffieHellman } from 'node:crypto'
import { mulAddUnsafe } from '@noble/curves/abstract/curve.js'
import type { EdwardsPoint } from '@noble/curves/abstract/edwards.js'
import { FpInvertBatch } from '@noble/curves/abstract/modular.js'
import { ed25519 } from '@noble/curves/ed25519.js'
import { bytesOf, integerOf, randomBelow, reduced } from './encoding.ts'

/**
 * Checks on Ed25519 with OpenSSL's X25519 (docs/decisions/0002-token-proof.md has the argument and the cost). Curve25519 is the same group in Montgomery form (RFC 7748 §4.1), and X25519 gives the u-coordinate of a
 * product. Only for public values.
 */
const { Point } = ed25519
const { Fn, Fp } = Point
const ORDER = Fn.ORDER
/** A of v² = u³ + A·u² + u. */
const MONTGOMERY_A = 486662n
const INVERSE_OF_8 = Fn.inv(8n)

/** DER of X25519 keys (RFC 8410) up to their 32 bytes. */
const PKCS8_HEAD = Buffer.from('302e020100300506032b656e04220420', 'hex')
const SPKI_HEAD = Buffer.from('302a300506032b656e032100', 'hex')

/** t·B = W + c·R + m·A, with the generator B; R and A of prime order, no point the identity, all factors below L. */
export interface Equation {
  t: bigint
  W: EdwardsPoint
  c: bigint
  R: EdwardsPoint
  m: bigint
  A: EdwardsPoint
}

/** The same by the library. */
export function holdsByLibrary({ t, W, c, R, m, A }: Equation): boolean {
  return mulAddUnsafe(Point, [Point.BASE, R, A], [t, Fn.neg(c), Fn.neg(m)]).equals(W)
}

/**
 * Adds a random multiple of B to R and A, and the difference to W. Then it compares u-coordinates: of c·R' + m·A' + W' =
 * 0, the signs of all three terms are lost. Each wrong choice of signs holds for one of L values of the random factor
 * at most.
 * @param draw for tests
 */
export function holds(equation: Equation, draw: (below: bigint) => bigint = randomBelow): boolean {
  const { t, W, c, R, m, A } = equation
  const factor = draw(ORDER)
  const blinding = timesBase(factor)
  const difference = timesBase(reduced(-(t + (c + m) * factor), ORDER))
  const blinded = [R.add(blinding), A.add(blinding), W.add(difference)]
  const factors = [x25519Factor(c), x25519Factor(m)]
  // With c = -m the factor would cancel out of one wrong choice, and the identity has no u-coordinate. Chance meets one
  // of these once in 2^125 proofs.
  const isDegenerate = factors.includes(undefined) || c + m === ORDER || blinded.some((point) => point.is0())
  if (isDegenerate) return holdsByLibrary(equation)
  const [u1, u2, u3] = montgomery(blinded) as [bigint, bigint, bigint]
  return isZeroSum(x25519(factors[0]!, u1), x25519(factors[1]!, u2), u3)
}

/** Whether the point is in the group of prime order, and not its identity. */
export function isOfPrimeOrder(point: EdwardsPoint): boolean {
  if (point.isSmallOrder()) return false
  // The factor is 1 or -1 modulo L, and a multiple of the cofactor 8: it changes exactly the points outside the group.
  const [u] = montgomery([point]) as [bigint]
  return x25519(x25519Factor(1n)!, u) === u
}

function timesBase(k: bigint): EdwardsPoint {
  return Point.BASE.multiplyUnsafe(k)
}

/** u = (1 + y)/(1 - y) of points other than the identity. */
function montgomery(points: readonly EdwardsPoint[]): bigint[] {
  const inverses = FpInvertBatch(
    Fp,
    points.map(({ Y, Z }) => Fp.sub(Z, Y)),
  )
  return points.map(({ Y, Z }, index) => Fp.mul(Fp.add(Z, Y), inverses[index]!))
}

/**
 * X25519 takes only multiples of 8 in [2^254, 2^255) (RFC 7748 §5). One of them is k or -k modulo L, except for k = 0
 * and 2^126 others of the 2^252.
 */
export function x25519Factor(k: bigint): bigint | undefined {
  const eighth = Fn.mul(k, INVERSE_OF_8)
  const multiple = [eighth, ORDER - eighth].find((value) => value >> 251n === 1n)
  return multiple && 8n * multiple
}

function x25519(factor: bigint, u: bigint): bigint {
  const privateKey = createPrivateKey(pem('PRIVATE', PKCS8_HEAD, factor))
  const publicKey = createPublicKey(pem('PUBLIC', SPKI_HEAD, u))
  return integerOf(diffieHellman({ privateKey, publicKey }).reverse())
}

/** RFC 7468. Node reads keys in this form sooner than in any other. */
function pem(kind: 'PRIVATE' | 'PUBLIC', head: Buffer, value: bigint): string {
  const base64 = Buffer.concat([head, littleEndian(value)]).toString('base64')
  return `-----BEGIN ${kind} KEY-----\n${base64}\n-----END ${kind} KEY-----\n`
}

function littleEndian(value: bigint): Buffer {
  return bytesOf(value, Fp.BYTES).reverse()
}

/**
 * Whether points with these u-coordinates have the sum zero for some choice of their signs: the third summation
 * polynomial (Semaev, IACR 2004/031) of a Montgomery curve.
 */
export function isZeroSum(u1: bigint, u2: bigint, u3: bigint): boolean {
  const [sum, product] = [u1 + u2, u1 * u2]
  const value =
    (u1 - u2) ** 2n * u3 ** 2n -
    2n * (sum * (product + 1n) + 2n * MONTGOMERY_A * product) * u3 +
    (product - 1n) ** 2n
  return value % Fp.ORDER === 0n
}
