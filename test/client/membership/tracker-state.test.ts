import { expect, test } from 'vitest'
import {
  PROBE_AFTER_MS,
  PROBE_AGAIN_AFTER_MS,
  SILENT_MS_MAX,
  TrackerState,
} from '../../../client/membership/tracker-state.ts'

test('one heartbeat or call without an answer makes the tracker suspect, a second heartbeat turns it off', () => {
  const state = new TrackerState()
  state.callFailed()
  expect(state.standing).toBe('suspect')
  state.callFailed()
  state.heartbeatFailed()
  expect(state.standing).toBe('suspect')
  state.heartbeatFailed()
  expect(state.standing).toBe('off')
})

test('only the answer to a heartbeat makes it work again', () => {
  const state = new TrackerState()
  state.heartbeatFailed()
  state.heartbeatFailed()
  state.callAnswered(1)
  expect(state.isOff).toBe(true)
  state.heartbeatAnswered(2)
  expect(state.standing).toBe('working')
  state.heartbeatFailed()
  expect(state.standing).toBe('suspect')
})

test('a call that waits asks for a heartbeat, and turns the tracker off after two seconds of silence', () => {
  const state = new TrackerState()
  expect(state.look(1_000, 1_000)).toEqual({ isProbeWanted: false, againInMs: PROBE_AFTER_MS })
  const probed = { isProbeWanted: true, againInMs: SILENT_MS_MAX - PROBE_AFTER_MS }
  expect(state.look(1_000, 1_000 + PROBE_AFTER_MS)).toEqual(probed)
  expect(state.look(1_000, 1_000 + SILENT_MS_MAX)).toBeUndefined()
  expect(state.isOff).toBe(true)
})

test('any answer is a sign of life for all calls in flight, and silence is counted from it', () => {
  const state = new TrackerState()
  state.callAnswered(2_500)
  expect(state.hasAnsweredSince(1_000)).toBe(true)
  expect(state.hasAnsweredSince(2_501)).toBe(false)
  expect(state.look(1_000, 3_400)).toMatchObject({ isProbeWanted: false })
  expect(state.look(1_000, 2_500 + PROBE_AGAIN_AFTER_MS)).toMatchObject({ isProbeWanted: true })
  expect(state.look(1_000, 2_500 + SILENT_MS_MAX)).toBeUndefined()
})
