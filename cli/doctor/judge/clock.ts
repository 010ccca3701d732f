import { SKEW_SECONDS_MIN } from '../../../core/clock-skew.ts'
import { durationText } from '../../../core/time-text.ts'
import { type Finding, found, ok, unknown } from '../finding.ts'

/** One answer with a Date. */
export interface ClockFacts {
  server: string
  aheadSeconds: number
  /** Its certificate did not verify because of the time. */
  isRefused?: boolean
}

export function judgeClock(clocks: ClockFacts[]): Finding[] {
  if (clocks.length === 0) return [unknown('the clock', 'no tracker and no registry told its time')]
  const wrong = clocks.filter(({ aheadSeconds }) => Math.abs(aheadSeconds) >= SKEW_SECONDS_MIN)
  if (wrong.length === 0) return [ok(`agrees with ${clocks.map(({ server }) => server).join(', ')}`)]
  return wrong.map(({ server, aheadSeconds, isRefused = false }) => {
    const detail = `this clock is ${durationText(Math.abs(aheadSeconds) * 1000)} ${aheadSeconds > 0 ? 'ahead of' : 'behind'} that of ${server}`
    return found(isRefused ? 'CLOCK_SKEWED' : 'CLOCK_DIFFERS', { detail })
  })
}
