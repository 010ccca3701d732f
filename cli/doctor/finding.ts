import { CONDITIONS, type ConditionText } from '../../core/condition-texts.ts'
import type { ConditionCode } from '../../core/conditions.ts'
import { DOCTOR_FINDINGS } from '../../core/doctor-texts.ts'
import { plainText } from '../../core/plain-text.ts'
import { scrubSecrets } from '../../core/scrub-secrets.ts'
import { GRAVITY } from '../table.ts'

/** What `shoal doctor` says about one link of the chain. */

/** `info`: as configured, but worth knowing. `unknown`: could not be looked at. The gravest last. */
export const LEVELS = Object.keys(GRAVITY) as Level[]
export type Level = keyof typeof GRAVITY

export type FindingCode = ConditionCode | keyof typeof DOCTOR_FINDINGS

export interface Finding {
  level: Level
  /** Row of docs/errors.md; absent where nothing is wrong. */
  code?: FindingCode
  /** One line. */
  text: string
  /** Why, in words of whoever met it: an error, an answer. */
  detail?: string
  /** What to do; names the setting or the command. */
  remedy?: string
}

/** Bound of a text from elsewhere (a registry's realm, an error), in characters. */
export const FOREIGN_TEXT_CHARS_MAX = 300
/** A text from elsewhere, as it may stand on a terminal. */
export function printable(text: string): string {
  const short = text.length > FOREIGN_TEXT_CHARS_MAX ? `${text.slice(0, FOREIGN_TEXT_CHARS_MAX)}…` : text
  return plainText(scrubSecrets(short.replaceAll(/\s*\n\s*/g, ' ')))
}

export function ok(text: string): Finding {
  return { level: 'ok', text: printable(text) }
}

export function info(text: string): Finding {
  return { level: 'info', text: printable(text) }
}

/** @param what cannot be said, as `whether …`; and why */
export function unknown(what: string, why = ''): Finding {
  return { level: 'unknown', text: printable(why === '' ? what : `${what}: ${why}`) }
}

interface Particulars {
  /** What it is about: a registry, a runtime, an address. */
  subject?: string | undefined
  detail?: string | undefined
  /** Better than the row's, because it names what this machine needs. */
  remedy?: string | undefined
}

/** A row of the tables, with what this machine adds to it. */
export function found(code: FindingCode, { subject = '', detail, remedy }: Particulars = {}): Finding {
  const row: ConditionText = { ...CONDITIONS, ...DOCTOR_FINDINGS }[code]
  return {
    level: row.severity,
    code,
    text: printable(subject === '' ? row.title : `${subject}: ${row.title}`),
    ...(detail && { detail: printable(detail) }),
    remedy: remedy === undefined ? row.remedy : printable(remedy),
  }
}

/** How grave the gravest is. */
export function worstOf(findings: readonly Pick<Finding, 'level'>[]): Level {
  return LEVELS[Math.max(0, ...findings.map(({ level }) => LEVELS.indexOf(level)))]!
}
