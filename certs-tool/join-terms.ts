import { UsageError } from '../core/errors.ts'
import { joinStringOf } from '../core/join-string.ts'
import { utcText } from '../core/time-text.ts'

/** How long and how often a join string counts, in flags and in words. */

const SECONDS = { m: 60, h: 3600, d: 86_400 } as const
/** The longest validity of a join token: ten years, as at the tracker. */
const EXPIRES_SECONDS_MAX = 10 * 365 * 86_400
/** Bound of the machines that may join with one token, as at the tracker. */
const USES_MAX = 1_000_000

export const JOIN_TERM_FLAGS = {
  expires: {
    type: 'string',
    value: 'time',
    default: '1h',
    description: 'The join string ends after this time: 30m, 12h, 7d, or never.',
  },
  uses: {
    type: 'string',
    value: 'number',
    description: 'How many machines may join with it. Default: any number.',
  },
} as const

export interface JoinTerms {
  validForSeconds: number | undefined
  usesMax: number | undefined
}

/** @throws UsageError */
export function joinTerms(values: { expires: string; uses: string | undefined }): JoinTerms {
  return { validForSeconds: secondsOf(values.expires), usesMax: usesOf(values.uses) }
}

function secondsOf(text: string): number | undefined {
  return text === 'never' ? undefined : durationSeconds(text, 'Write 30m, 12h, 7d, or never.')
}

/** @param hint for who wrote something else @throws UsageError */
export function durationSeconds(text: string, hint: string): number {
  const [, count, unit] = /^(\d{1,5})([mhd])$/.exec(text) ?? []
  const seconds = Number(count ?? 0) * SECONDS[(unit ?? 'm') as keyof typeof SECONDS]
  if (seconds < 1 || seconds > EXPIRES_SECONDS_MAX) {
    throw new UsageError(`not a time: ${text.slice(0, 80)}`, { hint })
  }
  return seconds
}

function usesOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (!/^\d{1,7}$/.test(text) || Number(text) < 1 || Number(text) > USES_MAX) {
    throw new UsageError(`not a number of machines: ${text.slice(0, 80)}`, {
      hint: `Write 1 to ${USES_MAX}.`,
    })
  }
  return Number(text)
}

/** What to run where, for whoever reads a terminal. */
export function joinLines(joinString: string, { validForSeconds, usesMax }: JoinTerms): string[] {
  const machines = usesMax === undefined ? 'a machine' : usesMax === 1 ? 'one machine' : `${usesMax} machines`
  const until =
    validForSeconds === undefined ? '' : `, before ${utcText(Date.now() + validForSeconds * 1000)}`
  return [
    `To make ${machines} ${usesMax === undefined || usesMax === 1 ? 'a node' : 'nodes'}, run this there as root${until}:`,
    '',
    `  shoal join ${joinString}`,
    '',
    'With `shoal join -` it is read from standard input, so that no process list and',
    'no shell history has it.',
  ]
}

/** @param pin base64url */
export function madeJoinString(pin: string, joinToken: string, trackers: string[]): string {
  return joinStringOf({ authorityPin: Buffer.from(pin, 'base64url'), joinToken, trackers })
}
