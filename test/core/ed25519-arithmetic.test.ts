import { ed25519 } from '@noble/curves/ed25519.js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Equation,
  holds,
  holdsByLibrary,
  isOfPrimeOrder,
  isZeroSum,
  x25519Factor,
} from '../../core/token-proof/ed25519-arithmetic.ts'
import { randomBelow } from '../../core/token-proof/encoding.ts'

/** Every check is compared with the library's own. */
const { Point } = ed25519
const { Fn, Fp } = Point
const L = Fn.ORDER
const RUNS = { numRuns: 60 }
/** The last three are in the gap that X25519's factors leave, or at its edges: L is 2^252 and a little. */
const EDGES = [1n, 2n, 8n, (L - 1n) / 2n, L - 8n, L - 2n, L - 1n, 2n ** 251n, 2n ** 252n, L - 2n ** 252n]

const product = (k: bigint, point = Point.BASE) => point.multiplyUnsafe(Fn.create(k))
const scalars = fc.oneof(fc.constantFrom(...EDGES), fc.bigInt({ min: 1n, max: L - 1n }))
const points = scalars.map((k) => product(k))
/** A point of order 8, from the list of RFC 8032's small-order points. */
const torsion = Point.fromHex('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05')
const torsions = Array.from({ length: 8 }, (_, k) => torsion.multiplyUnsafe(BigInt(k)))
const u = ({ y }: { y: bigint }) => Fp.div(1n + y, Fp.create(1n - y))

describe('the order of a point of Ed25519', () => {
  it("is judged as by the library's product with L, for each of the eight cosets", () => {
    fc.assert(
      fc.property(points, fc.integer({ min: 0, max: 7 }), (point, index) => {
        const shifted = point.add(torsions[index]!)
        expect(isOfPrimeOrder(shifted)).toBe(shifted.isTorsionFree())
        expect(isOfPrimeOrder(shifted)).toBe(index === 0)
      }),
      RUNS,
    )
  })

  it('is never prime for the identity and points of small order', () => {
    for (const point of torsions) expect(isOfPrimeOrder(point)).toBe(false)
  })
})

describe('a factor for X25519', () => {
  it('is a multiple of 8 with bit 254 as the highest, and the same residue up to its sign', () => {
    fc.assert(
      fc.property(scalars, (k) => {
        const factor = x25519Factor(k)
        if (factor === undefined) {
          // k/8 is closer to zero than L is to 2^252.
          const eighth = Fn.mul(k, Fn.inv(8n))
          expect(eighth <= L - 2n ** 252n || L - eighth <= L - 2n ** 252n).toBe(true)
          return
        }
        expect([factor % 8n, factor >> 254n]).toEqual([0n, 1n])
        expect([k, L - k]).toContain(Fn.create(factor))
      }),
      { numRuns: 300 },
    )
    expect(x25519Factor(0n)).toBeUndefined()
    expect(x25519Factor(8n)).toBeUndefined()
    expect(x25519Factor(1n)).toBeDefined()
  })
})

describe('the equation t·B = W + c·R + m·A on Ed25519', () => {
  const factors = fc.oneof(fc.constantFrom(0n, ...EDGES), fc.bigInt({ min: 0n, max: L - 1n }))
  /** True ones: W follows from the rest. */
  const equations = fc
    .record({ t: factors, c: factors, R: points, m: factors, A: points })
    .map((rest) => ({ ...rest, W: commitmentOf(rest) }))
    .filter(({ W }) => !W.is0())

  function commitmentOf({ t, c, R, m, A }: Omit<Equation, 'W'>) {
    return product(t).subtract(product(c, R)).subtract(product(m, A))
  }

  function randomEquation() {
    const [R, A] = [product(randomBelow(L)), product(randomBelow(L))]
    const rest = { t: randomBelow(L), c: randomBelow(L), R, m: randomBelow(L), A }
    return { ...rest, W: commitmentOf(rest) }
  }

  it('holds when it does by the library, whichever points coincide or are negatives', () => {
    fc.assert(
      fc.property(equations, (equation) => {
        expect(holdsByLibrary(equation)).toBe(true)
        expect(holds(equation)).toBe(true)
      }),
      RUNS,
    )
  })

  it('does not hold with another factor or point, as by the library', () => {
    const changes = fc.constantFrom<((equation: Equation) => Partial<Equation>)[]>(
      ({ t }) => ({ t: Fn.create(-t) }),
      ({ t }) => ({ t: Fn.create(t + 1n) }),
      ({ c }) => ({ c: Fn.create(-c) }),
      ({ m }) => ({ m: Fn.create(-m) }),
      ({ m }) => ({ m: Fn.create(m - 1n) }),
      ({ c, m }) => ({ c: m, m: c }),
      ({ W }) => ({ W: W.negate() }),
      ({ W }) => ({ W: W.add(torsion) }),
      ({ W }) => ({ W: W.add(torsions[4]!) }),
      ({ R }) => ({ R: R.double() }),
      ({ A }) => ({ A: A.negate() }),
    )
    let refused = 0
    fc.assert(
      fc.property(equations, changes, (equation, change) => {
        const changed = { ...equation, ...change(equation) }
        fc.pre(!changed.W.is0())
        const expected = holdsByLibrary(changed)
        expect(holds(changed)).toBe(expected)
        if (!expected) refused += 1
      }),
      { numRuns: 120 },
    )
    expect(refused).toBeGreaterThan(60)
  })

  it('does not hold with another sign of any term: u-coordinates alone would not tell', () => {
    for (let run = 0; run < 5; run++) {
      const equation = randomEquation()
      const { t, c, m, W } = equation
      // The terms of the sum are c·R, m·A and W - t·B.
      for (const signs of [1, 2, 3, 4, 5, 6]) {
        const changed = {
          ...equation,
          c: signs & 1 ? L - c : c,
          m: signs & 2 ? L - m : m,
          ...(signs & 4 ? { W: W.negate(), t: L - t } : {}),
        }
        expect(holds(changed)).toBe(false)
      }
    }
  })

  it('holds with a wrong sign only for the one random factor that hits it, which nobody knows before', () => {
    const equation = randomEquation()
    const factor = randomBelow(L)
    // t·B = W + c·R - m·A - 2·m·factor·B
    const { t, m } = equation
    const W = commitmentOf({ ...equation, t: Fn.create(t + 2n * m * factor), m: L - m })
    expect(holds({ ...equation, W }, () => factor)).toBe(true)
    expect(holds({ ...equation, W }, () => factor + 1n)).toBe(false)
    for (let run = 0; run < 5; run++) expect(holds({ ...equation, W })).toBe(false)
  })

  it('is decided also when the random factor makes the identity of a point', () => {
    const [t, c, r, m, a] = [randomBelow(L), randomBelow(L), randomBelow(L), randomBelow(L), randomBelow(L)]
    const rest = { t, c, R: product(r), m, A: product(a) }
    const equation = { ...rest, W: commitmentOf(rest) }
    // W = w·B, and W' = W - (t + (c + m)·factor)·B
    const w = t - c * r - m * a
    const forW = Fn.mul(Fn.create(w - t), Fn.inv(Fn.create(c + m)))
    for (const factor of [L - r, L - a, forW]) {
      expect(holds(equation, () => factor)).toBe(true)
      expect(holds({ ...equation, t: Fn.create(t + 1n) }, () => factor)).toBe(false)
    }
  })

  it('is decided also for c = -m, where the random factor would hide nothing', () => {
    for (let run = 0; run < 5; run++) {
      const { t, c, R, A } = randomEquation()
      const equation = { t, c, R, m: L - c, A }
      expect(holds({ ...equation, W: commitmentOf(equation) })).toBe(true)
      // t·B = W - c·R + c·A
      const W = commitmentOf({ t, c: L - c, R, m: c, A })
      expect(holds({ ...equation, W })).toBe(false)
    }
  })
})

describe('three u-coordinates', () => {
  it('are those of a zero sum exactly if some choice of signs makes one', () => {
    fc.assert(
      fc.property(points, points, points, (one, other, third) => {
        const sums = [one.add(other), one.subtract(other)].filter((sum) => !sum.is0())
        for (const sum of sums) expect(isZeroSum(u(one), u(other), u(sum))).toBe(true)
        const isSum = sums.some((sum) => u(sum) === u(third))
        expect(isZeroSum(u(one), u(other), u(third))).toBe(isSum)
      }),
      RUNS,
    )
  })
})
