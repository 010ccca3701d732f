import { randomBytes } from 'node:crypto'
import { TokenProofError } from './errors.ts'

/** Big-endian, unsigned. */
export function integerOf(bytes: Uint8Array): bigint {
  return bytes.length === 0 ? 0n : BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
}

/** Big-endian, unsigned, exactly `length` bytes; the value must fit. */
export function bytesOf(value: bigint, length: number): Buffer {
  return Buffer.from(value.toString(16).padStart(length * 2, '0'), 'hex')
}

export function reduced(value: bigint, modulus: bigint): bigint {
  const remainder = value % modulus
  return remainder < 0n ? remainder + modulus : remainder
}

/** Uniform in [1, below): draws bytes from the system until they fit. At least half of all draws do. */
export function randomBelow(below: bigint): bigint {
  const hex = below.toString(16)
  const bytes = Math.ceil(hex.length / 2)
  const bits = (hex.length - 1) * 4 + Number.parseInt(hex[0]!, 16).toString(2).length
  const spareBits = BigInt(bytes * 8 - bits)
  for (;;) {
    const drawn = integerOf(randomBytes(bytes)) >> spareBits
    if (drawn > 0n && drawn < below) return drawn
  }
}

/** Cuts `bytes` into fields of `sizes` bytes. @throws TokenProofError unless they fill it exactly */
export function fieldsOf(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const total = sizes.reduce((sum, size) => sum + size, 0)
  if (bytes.length !== total) throw new TokenProofError(`a proof of ${bytes.length} bytes, not ${total}`)
  let end = 0
  return sizes.map((size) => {
    end += size
    return bytes.subarray(end - size, end)
  })
}

/** @throws TokenProofError unless 0 < value < below: one encoding per value, and no degenerate answers */
export function checkedAnswer(value: bigint, below: bigint): bigint {
  if (value <= 0n || value >= below) throw new TokenProofError('an answer outside its range')
  return value
}
