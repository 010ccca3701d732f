import { expect, test } from 'vitest'
import {
  PROBE_AFTER_MS,
  PROBE_AGAIN_AFTER_MS,
  SILENT_MS_MAX,
  TrackerState,
} from '../../../client/membership/tracker-state.ts'

test('one heartbeat or call without an answer makes the tracker suspect, a second heartbeat turns it off', () => {
  const state = new TrackerState(0)
  state.callFailed(1)
  expect(state.standing).toBe('suspect')
  state.callFailed(1)
  state.heartbeatFailed(1)
  expect(state.standing).toBe('suspect')
  state.heartbeatFailed(1)
  expect(state.standing).toBe('off')
})

test('only the answer to a heartbeat makes it work again', () => {
  const state = new TrackerState(0)
  state.heartbeatFailed(1)
  state.heartbeatFailed(1)
  state.callAnswered(1)
  expect(state.isOff).toBe(true)
  state.heartbeatAnswered(2)
  expect(state.standing).toBe('working')
  state.heartbeatFailed(1)
  expect(state.standing).toBe('suspect')
})

test('a call that waits asks for a heartbeat, and turns the tracker off after two seconds of silence', () => {
  const state = new TrackerState(0)
  expect(state.look(1_000, 1_000)).toEqual({ isProbeWanted: false, againInMs: PROBE_AFTER_MS })
  const probed = { isProbeWanted: true, againInMs: SILENT_MS_MAX - PROBE_AFTER_MS }
  expect(state.look(1_000, 1_000 + PROBE_AFTER_MS)).toEqual(probed)
  expect(state.look(1_000, 1_000 + SILENT_MS_MAX)).toBeUndefined()
  expect(state.isOff).toBe(true)
})

test('any answer is a sign of life for all calls in flight, and silence is counted from it', () => {
  const state = new TrackerState(0)
  state.callAnswered(2_500)
  expect(state.hasAnsweredSince(1_000)).toBe(true)
  expect(state.hasAnsweredSince(2_501)).toBe(false)
  expect(state.look(1_000, 3_400)).toMatchObject({ isProbeWanted: false })
  expect(state.look(1_000, 2_500 + PROBE_AGAIN_AFTER_MS)).toMatchObject({ isProbeWanted: true })
  expect(state.look(1_000, 2_500 + SILENT_MS_MAX)).toBeUndefined()
})

test('silence begins with a heartbeat that nothing answered, but for a call only', () => {
  const state = new TrackerState(0)
  state.heartbeatSent(1_000)
  state.callAnswered(1_200)
  state.heartbeatSent(2_000)
  state.heartbeatFailed(4_000)
  // The first of two counts.
  state.heartbeatSent(4_300)
  expect(state.standing).toBe('suspect')
  expect(state.look(3_900, 3_900)).toMatchObject({ isProbeWanted: true, againInMs: 100 })
  expect(state.look(3_900, 4_000)).toBeUndefined()
  state.heartbeatAnswered(5_000)
  expect(state.look(9_000, 9_000)).toEqual({ isProbeWanted: false, againInMs: PROBE_AFTER_MS })
})

test('it is unknown until the first answer or failure, and the time of a change is the time it began or ended to answer', () => {
  const state = new TrackerState(5)
  const seen = () => ({ standing: state.standing, isSilent: state.isSilent, sinceMs: state.sinceMs })
  expect(seen()).toEqual({ standing: 'unknown', isSilent: false, sinceMs: 5 })
  state.callAnswered(10)
  expect(seen()).toEqual({ standing: 'working', isSilent: false, sinceMs: 10 })
  state.heartbeatAnswered(20)
  expect(seen()).toMatchObject({ standing: 'working', sinceMs: 10 })
  state.callFailed(30)
  state.heartbeatFailed(40)
  state.heartbeatFailed(50)
  expect(seen()).toEqual({ standing: 'off', isSilent: true, sinceMs: 30 })
  state.heartbeatAnswered(60)
  expect(seen()).toEqual({ standing: 'working', isSilent: false, sinceMs: 60 })
})
