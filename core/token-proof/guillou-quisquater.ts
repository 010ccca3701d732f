import { constants, createHash, type KeyObject, publicEncrypt } from 'node:crypto'
import { publicKeyFor } from '../token-algorithms.ts'
import { bytesOf, checkedAnswer, fieldsOf, integerOf, randomBelow } from './encoding.ts'
import { TokenProofError } from './errors.ts'
import type { Challenger, ProofScheme, Statement } from './scheme.ts'

/**
 * RS256/384/512 (RFC 8017 §8.2). A signature σ holds when σ^e = X mod n, X being the PKCS#1 v1.5 encoding of the hash.
 * Guillou–Quisquater (1988): commitment Y = y^e, challenge c, answer a = y·σ^c, accepted when a^e = Y·X^c.
 * e = 65537 is prime and above every 16-bit challenge, so each round has soundness 2^-16; eight of them 2^-128.
 * Body: all commitments, then all answers, each as long as the modulus.
 */
export const ROUNDS = 8
/** Of two bits each. */
const CHALLENGE_DIGITS = 8

/** DER of DigestInfo up to the hash (RFC 8017 §9.2, note 1). */
const DIGEST_INFO = {
  sha256: Buffer.from('3031300d060960864801650304020105000420', 'hex'),
  sha384: Buffer.from('3041300d060960864801650304020205000430', 'hex'),
  sha512: Buffer.from('3051300d060960864801650304020305000440', 'hex'),
}
type Hash = keyof typeof DIGEST_INFO

/** 2048 to 4096 bits with e = 65537, like every key from `canonicalKey`. */
interface RsaKey {
  modulus: bigint
  modulusBytes: number
  key: KeyObject
}

class GuillouQuisquater implements ProofScheme {
  readonly #hash: Hash

  constructor(hash: Hash) {
    this.#hash = hash
  }

  prepare(statement: Statement, signature: Buffer): (challenger: Challenger) => Buffer {
    const rsa = rsaKeyOf(statement)
    const powers = powersOf(checkedAnswer(integerOf(signature), rsa.modulus), rsa.modulus)
    return (challenger) => {
      const nonces = Array.from({ length: ROUNDS }, () => randomBelow(rsa.modulus))
      const commitments = nonces.map((nonce) => raised(rsa, bytesOf(nonce, rsa.modulusBytes)))
      const challenge = challenger(commitments)
      const answers = nonces.map((nonce, round) => {
        const answer = timesPower(nonce, powers, challengeAt(challenge, round), rsa.modulus)
        return bytesOf(answer, rsa.modulusBytes)
      })
      return Buffer.concat([...commitments, ...answers])
    }
  }

  verify(statement: Statement, body: Buffer, challenger: Challenger): void {
    const rsa = rsaKeyOf(statement)
    const fields = fieldsOf(body, Array<number>(2 * ROUNDS).fill(rsa.modulusBytes))
    const values = fields.map((field) => checkedAnswer(integerOf(field), rsa.modulus))
    const encoded = integerOf(this.#encodedHash(statement, rsa.modulusBytes))
    const challenge = challenger(fields.slice(0, ROUNDS))
    const powers = powersOf(encoded, rsa.modulus)
    for (let round = 0; round < ROUNDS; round++) {
      const left = integerOf(raised(rsa, fields[ROUNDS + round]!))
      const right = timesPower(values[round]!, powers, challengeAt(challenge, round), rsa.modulus)
      if (left !== right) throw new TokenProofError('the proof does not hold')
    }
    // A commitment shares a factor with the modulus exactly if its answer does: a^e = Y·X^c, and X shares none.
    assertCoprime([...values.slice(ROUNDS), encoded], rsa.modulus)
  }

  /** EMSA-PKCS1-v1_5 (RFC 8017 §9.2): 00 01 ff…ff 00 DigestInfo. Its first byte keeps it below every modulus. */
  #encodedHash({ signingInput }: Statement, modulusBytes: number): Buffer {
    const digest = createHash(this.#hash).update(signingInput).digest()
    const tail = Buffer.concat([Buffer.of(0), DIGEST_INFO[this.#hash], digest])
    return Buffer.concat([Buffer.of(0, 1), Buffer.alloc(modulusBytes - 2 - tail.length, 0xff), tail])
  }
}

/** The same keys fit RS256, RS384 and RS512. */
function rsaKeyOf({ key: jwk }: Statement): RsaKey {
  const key = publicKeyFor('RS256', jwk)!
  const modulus = integerOf(Buffer.from(jwk.n ?? '', 'base64url'))
  return { key, modulus, modulusBytes: Math.ceil(key.asymmetricKeyDetails!.modulusLength! / 8) }
}

/** value^65537 mod n with OpenSSL's RSA without padding: several times faster than BigInt, and in constant time. */
function raised({ key }: RsaKey, value: Buffer): Buffer {
  return publicEncrypt({ key, padding: constants.RSA_NO_PADDING }, value)
}

/** base^(digit·4^i) for every base-4 digit of a challenge: all rounds share them. */
function powersOf(base: bigint, modulus: bigint): bigint[][] {
  const powers: bigint[][] = []
  for (let first = base; powers.length < CHALLENGE_DIGITS; ) {
    const second = first ** 2n % modulus
    powers.push([1n, first, second, (first * second) % modulus])
    first = second ** 2n % modulus
  }
  return powers
}

/** value·base^exponent */
function timesPower(value: bigint, powers: readonly bigint[][], exponent: number, modulus: bigint): bigint {
  return powers.reduce(
    (product, ofDigit, digit) => (product * ofDigit[(exponent >> (2 * digit)) & 3]!) % modulus,
    value,
  )
}

function challengeAt(challenge: Buffer, round: number): number {
  return challenge.readUInt16BE(round * 2)
}

/** The product is coprime to n exactly if every factor is, so one gcd replaces nine. */
function assertCoprime(values: readonly bigint[], modulus: bigint): void {
  let a = modulus
  let b = values.reduce((product, value) => (product * value) % modulus, 1n)
  while (b !== 0n) [a, b] = [b, a % b]
  if (a !== 1n) throw new TokenProofError('a value that is not coprime to the modulus')
}

export const rs256: ProofScheme = new GuillouQuisquater('sha256')
export const rs384: ProofScheme = new GuillouQuisquater('sha384')
export const rs512: ProofScheme = new GuillouQuisquater('sha512')
