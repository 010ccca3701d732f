import { expect, test } from 'vitest'
import { Patience } from '../../client/patience.ts'

const SECOND = 1000
const NEVER = Number.POSITIVE_INFINITY

test('a node waits three seconds without a byte, and twenty with bytes but no piece', () => {
  const patience = new Patience(0)
  expect(patience.isOut(3 * SECOND, NEVER)).toBe(false)
  expect(patience.isOut(3 * SECOND + 1, NEVER)).toBe(true)
  expect(patience.isOut(20 * SECOND, 0)).toBe(false)
  expect(patience.isOut(20 * SECOND + 1, 0)).toBe(true)
})

test('every piece begins the wait anew', () => {
  const patience = new Patience(0)
  patience.moved(10 * SECOND)
  expect(patience.isOut(12 * SECOND, NEVER)).toBe(false)
  expect(patience.isOut(14 * SECOND, NEVER)).toBe(true)
})

test('the tracker that says "others fetch it" is believed for thirty seconds without a piece, however often it says so', () => {
  const patience = new Patience(0)
  patience.toldToWait(0, { isCold: true })
  patience.toldToWait(25 * SECOND, { isCold: true })
  expect(patience.isOut(29 * SECOND, NEVER)).toBe(false)
  expect(patience.isOut(30 * SECOND, NEVER)).toBe(true)
  patience.toldToWait(30 * SECOND, { isCold: true })
  patience.moved(31 * SECOND)
  expect(patience.isOut(60 * SECOND, NEVER)).toBe(false)
  patience.notToldToWait()
  expect(patience.isOut(60 * SECOND, NEVER)).toBe(true)
})

test('readers are told ten seconds after fetches began to fail, unless a piece came in between', () => {
  const patience = new Patience(0)
  expect(patience.isBroken(60 * SECOND)).toBe(false)
  patience.broke(SECOND)
  patience.broke(9 * SECOND)
  expect(patience.isBroken(11 * SECOND)).toBe(false)
  expect(patience.isBroken(12 * SECOND)).toBe(true)
  patience.moved(12 * SECOND)
  expect(patience.isBroken(60 * SECOND)).toBe(false)
})

test('calls that no lease can come of are made ever less often, and often again for the next reader', () => {
  const patience = new Patience(0)
  expect([1, 2, 3, 4, 5, 6].map(() => patience.nextAskInMs() / SECOND)).toEqual([6, 12, 15, 15, 15, 15])
  patience.begin(0)
  expect(patience.nextAskInMs()).toBe(6 * SECOND)
})

test('that somebody was sent for lost pieces is believed for a lease and a little, whatever comes meanwhile', () => {
  const patience = new Patience(0)
  patience.toldToWait(0, { isCold: false })
  expect(patience.isOut(11 * SECOND, 11 * SECOND)).toBe(false)
  patience.moved(11 * SECOND)
  patience.toldToWait(11 * SECOND, { isCold: false })
  expect(patience.isOut(15 * SECOND, 15 * SECOND)).toBe(true)
})
