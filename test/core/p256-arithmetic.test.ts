import { p256 } from '@noble/curves/nist.js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type CurvePoint, type Equation, libraryArithmetic } from '../../core/token-proof/curve-arithmetic.ts'
import { bytesOf, randomBelow } from '../../core/token-proof/encoding.ts'
import { holds, isZeroSum, p256Arithmetic } from '../../core/token-proof/p256-arithmetic.ts'

/** Every operation is compared with the library's own. */
const reference = libraryArithmetic(p256)
const { Point } = p256
const { Fn, Fp } = Point
const n = Fn.ORDER
const RUNS = { numRuns: 60 }
const EDGES = [1n, 2n, 3n, (n - 1n) / 2n, (n + 1n) / 2n, n - 3n, n - 2n, n - 1n]

/** Half of them near an end of the range, or with leading zero bytes. */
const scalars = fc.oneof(fc.constantFrom(...EDGES), fc.bigInt({ min: 1n, max: n - 1n }))
/** k·P by the library; k may be any number. */
const product = (k: bigint, point = Point.BASE) => point.multiplyUnsafe(Fn.create(k))
const points = scalars.map((k) => product(k))
const hex = (point: CurvePoint) => (point.is0() ? 'identity' : point.toHex(true))

describe('a product on P-256 by OpenSSL', () => {
  it("equals the library's for every factor and point", () => {
    const oneProduct = fc.property(points, scalars, (point, k) => {
      expect(hex(p256Arithmetic.multiplierOf(point)(k))).toBe(hex(point.multiply(k)))
      expect(hex(p256Arithmetic.timesBase(k))).toBe(hex(reference.timesBase(k)))
    })
    fc.assert(oneProduct, RUNS)
  })

  it.each(EDGES)('is right for the factor %s, also when point and product coincide or are negatives', (k) => {
    for (const point of [Point.BASE, Point.BASE.negate(), product(2n), product(k), product(Fn.inv(k))]) {
      expect(hex(p256Arithmetic.multiplierOf(point)(k))).toBe(hex(point.multiply(k)))
    }
    expect(hex(p256Arithmetic.timesBase(k))).toBe(hex(Point.BASE.multiply(k)))
  })

  it('is right for many factors in turn, also of a point that is not in affine form', () => {
    const manyProducts = fc.property(
      points,
      fc.array(scalars, { minLength: 2, maxLength: 5 }),
      (point, factors) => {
        const [sum, affine] = [point.double().add(point), product(3n, point)]
        fc.pre(!sum.is0())
        const times = p256Arithmetic.multiplierOf(sum)
        for (const k of factors) expect(hex(times(k))).toBe(hex(affine.multiply(k)))
      },
    )
    fc.assert(manyProducts, { numRuns: 20 })
  })

  it('is not made for a factor out of range, or of the identity', () => {
    for (const k of [0n, n, n + 1n, 2n ** 256n - 1n]) {
      expect(() => p256Arithmetic.multiplierOf(Point.BASE)(k)).toThrowError()
    }
    for (const k of [n, n + 1n]) expect(() => p256Arithmetic.timesBase(k)).toThrowError()
    expect(() => p256Arithmetic.multiplierOf(Point.ZERO)(2n)).toThrowError()
    expect(p256Arithmetic.timesBase(0n).is0()).toBe(true)
  })
})

describe('a compressed point of P-256 read by OpenSSL', () => {
  const verdict = (decompress: (bytes: Uint8Array) => CurvePoint, bytes: Uint8Array) => {
    try {
      return hex(decompress(bytes))
    } catch {
      return 'refused'
    }
  }

  it('is accepted exactly if the library accepts it', () => {
    const encodings = fc.oneof(
      points.map((point) => point.toBytes(true)),
      // Half of all abscissae are of the curve.
      fc.bigInt({ min: 0n, max: 2n ** 256n - 1n }).map((x) => Buffer.concat([Buffer.of(2), bytesOf(x, 32)])),
      fc.uint8Array({ minLength: 33, maxLength: 33 }),
    )
    fc.assert(
      fc.property(encodings, (bytes) => {
        expect(verdict(p256Arithmetic.decompress, bytes)).toBe(verdict(reference.decompress, bytes))
      }),
      { numRuns: 300 },
    )
  })

  it('is refused in every other form', () => {
    const [compressed, uncompressed] = [Point.BASE.toBytes(true), Point.BASE.toBytes(false)]
    const prefixed = (prefix: number, bytes: Uint8Array) =>
      Buffer.concat([Buffer.of(prefix), bytes.subarray(1)])
    const forms = [
      ...[0, 1, 4, 5, 6, 7, 0x82].map((prefix) => prefixed(prefix, compressed)),
      // Hybrid forms of X9.62 carry the parity too.
      ...[4, 6, 7].map((prefix) => prefixed(prefix, uncompressed)),
      Buffer.alloc(0),
      Buffer.of(0),
      Buffer.alloc(33),
      compressed.subarray(0, 32),
      Buffer.concat([compressed, Buffer.of(0)]),
      // Not below the field's prime, though the residue is of the curve.
      Buffer.concat([Buffer.of(2), bytesOf(Fp.ORDER + 5n, 32)]),
    ]
    for (const form of forms) expect(verdict(p256Arithmetic.decompress, form)).toBe('refused')
    expect(verdict(reference.decompress, Buffer.concat([Buffer.of(2), bytesOf(5n, 32)]))).not.toBe('refused')
  })
})

describe('the equation t·R = A + u·G + v·Q on P-256', () => {
  const factors = fc.oneof(fc.constantFrom(0n, ...EDGES), fc.bigInt({ min: 0n, max: n - 1n }))
  /** True ones: A follows from the rest. */
  const equations = fc
    .record({ R: points, t: scalars, u: factors, Q: points, v: factors })
    .map((rest) => ({ ...rest, A: commitmentOf(rest) }))
    .filter(({ A }) => !A.is0())

  function commitmentOf({ R, t, u, Q, v }: Omit<Equation, 'A'>): CurvePoint {
    return product(t, R).subtract(product(u)).subtract(product(v, Q))
  }

  it('holds when it does by the library, whichever points coincide or are negatives', () => {
    fc.assert(
      fc.property(equations, (equation) => {
        expect(reference.holds(equation)).toBe(true)
        expect(holds(equation)).toBe(true)
      }),
      RUNS,
    )
  })

  it('does not hold with another factor or point, as by the library', () => {
    const changes = fc.constantFrom<((equation: Equation) => Partial<Equation>)[]>(
      ({ t }) => ({ t: n - t }),
      ({ t }) => ({ t: Fn.create(t + 1n) }),
      ({ u }) => ({ u: Fn.create(-u) }),
      ({ u }) => ({ u: Fn.create(u + 1n) }),
      ({ v }) => ({ v: Fn.create(-v) }),
      ({ v }) => ({ v: Fn.create(v - 1n) }),
      ({ A }) => ({ A: A.negate() }),
      ({ A, R }) => ({ A: A.add(R) }),
      ({ R }) => ({ R: R.double() }),
      ({ Q, R }) => ({ Q: R, R: Q }),
    )
    let refused = 0
    fc.assert(
      fc.property(equations, changes, (equation, change) => {
        const changed = { ...equation, ...change(equation) }
        fc.pre(!changed.A.is0() && changed.t !== 0n)
        const expected = reference.holds(changed)
        expect(holds(changed)).toBe(expected)
        if (!expected) refused += 1
      }),
      { numRuns: 120 },
    )
    expect(refused).toBeGreaterThan(60)
  })

  it.each([
    [-1n, 1n, 1n],
    [1n, -1n, 1n],
    [1n, 1n, -1n],
    [-1n, -1n, 1n],
    [-1n, 1n, -1n],
    [1n, -1n, -1n],
  ])(
    'does not hold with the signs %s, %s and %s of its terms: abscissae alone would not tell',
    (...signs) => {
      for (let run = 0; run < 20; run++) {
        const [R, Q] = [product(randomBelow(n)), product(randomBelow(n))]
        const [t, u, v] = [randomBelow(n), randomBelow(n), randomBelow(n)]
        const A = commitmentOf({ R, t: Fn.create(signs[0]! * t), u, Q, v: Fn.create(signs[2]! * v) })
        const signed = signs[1] === 1n ? { A, u } : { A: A.negate(), u: n - u }
        expect(holds({ R, t, Q, v, ...signed })).toBe(false)
      }
    },
  )

  it('holds with a wrong sign only for the one random factor that hits it, which nobody knows before', () => {
    const [R, Q] = [product(randomBelow(n)), product(randomBelow(n))]
    const [t, u, v] = [randomBelow(n), randomBelow(n), randomBelow(n)]
    const factor = randomBelow(n)
    // t·R = A + u·G - v·Q - 2·v·factor·G
    const A = commitmentOf({ R, t, u: Fn.create(u - 2n * v * factor), Q, v: n - v })
    expect(holds({ R, t, A, u, Q, v }, () => factor)).toBe(true)
    expect(holds({ R, t, A, u, Q, v }, () => factor + 1n)).toBe(false)
    for (let run = 0; run < 20; run++) expect(holds({ R, t, A, u, Q, v })).toBe(false)
  })

  it('is decided also when the random factor makes the identity of a point, and without Q', () => {
    const [r, q, t, u, v] = [randomBelow(n), randomBelow(n), randomBelow(n), randomBelow(n), randomBelow(n)]
    const [R, Q] = [product(r), product(q)]
    const equation = { R, t, u, Q, v, A: commitmentOf({ R, t, u, Q, v }) }
    // A = a·G, and A' = A + (u + (t - v)·factor)·G
    const a = t * r - u - v * q
    const forA = Fn.mul(Fn.create(-a - u), Fn.inv(Fn.create(t - v)))
    for (const factor of [n - r, n - q, forA]) {
      expect(holds(equation, () => factor)).toBe(true)
      expect(holds({ ...equation, u: Fn.create(u + 1n) }, () => factor)).toBe(false)
    }
    const withoutQ = { R, t, u, Q, v: 0n }
    expect(holds({ ...withoutQ, A: commitmentOf(withoutQ) })).toBe(true)
    expect(holds({ ...withoutQ, A: product(5n) })).toBe(false)
  })

  it('is decided also for t = v, where the random factor would hide nothing', () => {
    for (let run = 0; run < 5; run++) {
      const [R, Q, t, u] = [product(randomBelow(n)), product(randomBelow(n)), randomBelow(n), randomBelow(n)]
      const equation = { R, t, u, Q, v: t }
      expect(holds({ ...equation, A: commitmentOf(equation) })).toBe(true)
      // -t·R = A + u·G - t·Q
      const A = commitmentOf({ R, t: n - t, u, Q, v: n - t })
      expect(holds({ ...equation, A })).toBe(false)
    }
  })
})

describe('three abscissae', () => {
  it('are those of a zero sum exactly if some choice of signs makes one', () => {
    fc.assert(
      fc.property(points, points, points, (one, other, third) => {
        const sums = [one.add(other), one.subtract(other)].filter((sum) => !sum.is0())
        for (const sum of sums) expect(isZeroSum(one.x, other.x, sum.x)).toBe(true)
        const isSum = sums.some((sum) => sum.x === third.x)
        expect(isZeroSum(one.x, other.x, third.x)).toBe(isSum)
      }),
      RUNS,
    )
  })
})
