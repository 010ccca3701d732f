import { createHash } from 'node:crypto'
import type { EdwardsPoint } from '@noble/curves/abstract/edwards.js'
import { ed25519 } from '@noble/curves/ed25519.js'
import { BoundedMap } from '../bounded-map.ts'
import { holds, isOfPrimeOrder } from './ed25519-arithmetic.ts'
import { bytesOf, checkedAnswer, fieldsOf, integerOf, randomBelow, reduced } from './encoding.ts'
import { TokenProofError } from './errors.ts'
import type { Challenger, ProofScheme, Statement } from './scheme.ts'

/**
 * Ed25519 (RFC 8032 §5.1; `EdDSA` of RFC 8037). A signature (R, S) holds when S·B = R + h·A, h = SHA-512(R, A, M).
 * The proof reveals R and shows, by Schnorr's protocol with base B, knowledge of S.
 * Body: R, commitment W = k·B (RFC 8032 encodings), answer t = k + c·S mod L (big-endian).
 */
const { Point } = ed25519
const ORDER = Point.Fn.ORDER
const BYTES = 32

/** A verifier meets a few keys, and each in many proofs: it checks them once. */
const KEYS_CHECKED_MAX = 64
const keysChecked = new BoundedMap<string, EdwardsPoint>(KEYS_CHECKED_MAX)

function prepare(_statement: Statement, signature: Buffer): (challenger: Challenger) => Buffer {
  const [nonceBytes, scalarBytes] = fieldsOf(signature, [BYTES, BYTES])
  const scalar = checkedAnswer(littleEndian(scalarBytes!), ORDER)
  primeOrderPoint(nonceBytes!)
  return (challenger) => {
    const k = randomBelow(ORDER)
    // `multiply` runs in constant time: k, like S, is secret.
    const commitment = Point.BASE.multiply(k).toBytes()
    const challenge = integerOf(challenger([nonceBytes!, commitment]))
    return Buffer.concat([nonceBytes!, commitment, bytesOf(reduced(k + challenge * scalar, ORDER), BYTES)])
  }
}

function verify({ key, signingInput }: Statement, body: Buffer, challenger: Challenger): void {
  const [nonceBytes, commitment, answerBytes] = fieldsOf(body, [BYTES, BYTES, BYTES])
  const keyBytes = Buffer.from(key.x ?? '', 'base64url')
  const hash = createHash('sha512').update(nonceBytes!).update(keyBytes).update(signingInput).digest()
  const answer = checkedAnswer(integerOf(answerBytes!), ORDER)
  const challenge = integerOf(challenger([nonceBytes!, commitment!]))
  // t·B = W + c·(R + h·A). All but W is of prime order, so W is too when they are equal.
  const isProven = holds({
    t: answer,
    W: canonicalPoint(commitment!),
    c: reduced(challenge, ORDER),
    R: primeOrderPoint(nonceBytes!),
    m: reduced(challenge * littleEndian(hash), ORDER),
    A: pointOfKey(keyBytes),
  })
  if (!isProven) throw new TokenProofError('the proof does not hold')
}

function littleEndian(bytes: Buffer): bigint {
  return integerOf(Buffer.from(bytes).reverse())
}

/** Strict RFC 8032 §5.1.3: y below the field's prime, no "negative zero", and not the identity. */
function canonicalPoint(bytes: Buffer): EdwardsPoint {
  let point: EdwardsPoint
  try {
    point = Point.fromBytes(bytes, false)
  } catch (cause) {
    throw new TokenProofError('not a canonical point of the curve', { cause })
  }
  if (point.is0()) throw new TokenProofError('the identity')
  return point
}

function primeOrderPoint(bytes: Buffer): EdwardsPoint {
  const point = canonicalPoint(bytes)
  if (!isOfPrimeOrder(point)) throw new TokenProofError('a point outside the group of prime order')
  return point
}

function pointOfKey(bytes: Buffer): EdwardsPoint {
  const name = bytes.toString('hex')
  const point = keysChecked.get(name) ?? primeOrderPoint(bytes)
  keysChecked.set(name, point)
  return point
}

export const eddsa: ProofScheme = { prepare, verify }
