import { stat } from 'node:fs/promises'
import { setTimeout as wait } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { inTime, isSettledWithin, untilAborted } from '../../core/patience.ts'

const never = new Promise<never>(() => undefined)

test('work that settles in time is known to have, whether it succeeds or fails', async () => {
  expect(await isSettledWithin(Promise.resolve(), 1000)).toBe(true)
  expect(await isSettledWithin(Promise.reject(new Error('no')), 1000)).toBe(true)
  expect(await isSettledWithin(never, 10)).toBe(false)
})

test('an answer that arrived while this process was busy is in time', async () => {
  // Taken in after the timers, as an answer from the network is: after this phase, the timers come first.
  await new Promise(setImmediate)
  const answered = stat(import.meta.filename)
  const isInTime = isSettledWithin(answered, 20)
  const busyUntilMs = performance.now() + 60
  while (performance.now() < busyUntilMs);
  expect(await isInTime).toBe(true)
})

test('late work is an error, and its own failure after that is nobody’s', async () => {
  const failing = wait(30).then(() => Promise.reject(new Error('too late to matter')))
  await expect(inTime(failing, 5)).rejects.toThrow('no answer in time')
  await wait(60)
  expect(await inTime(Promise.resolve('answer'), 1000)).toBe('answer')
  await expect(inTime(Promise.reject(new Error('no')), 1000)).rejects.toThrow('no')
})

test('work ends with the signal, also one that has aborted, and leaves no listener', async () => {
  const { signal } = new AbortController()
  const listeners = {
    added: vi.spyOn(signal, 'addEventListener'),
    removed: vi.spyOn(signal, 'removeEventListener'),
  }
  expect(await untilAborted(Promise.resolve(7), signal)).toBe(7)
  expect(listeners.removed.mock.calls).toEqual(listeners.added.mock.calls.map((call) => call.slice(0, 2)))
  expect(listeners.added).toHaveBeenCalledOnce()
  const end = new AbortController()
  const waiting = untilAborted(never, end.signal)
  end.abort(new Error('gone'))
  await expect(waiting).rejects.toThrow('gone')
  await expect(untilAborted(never, end.signal)).rejects.toThrow('gone')
})

test('an error of the work itself comes before the end of its time', async () => {
  const end = new AbortController()
  const work = new Promise((_, reject) => {
    end.signal.addEventListener('abort', () => reject(new Error('its own')))
  })
  const waiting = untilAborted(work, end.signal)
  end.abort(new Error('time is over'))
  await expect(waiting).rejects.toThrow('its own')
})
