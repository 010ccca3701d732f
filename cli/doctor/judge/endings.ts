import { durationText, utcText } from '../../../core/time-text.ts'
import { type Finding, found, ok, unknown } from '../finding.ts'

export interface Ending {
  /** `the tracker's certificate` */
  what: string
  beginsMs: number
  endsMs: number
  /** It is the node's own, which renews it by itself. */
  isOwn?: boolean
  /** What renews it. */
  remedy?: string
}

export interface EndingsFacts {
  nowMs: number
  certificates: Ending[]
  /** What nobody could look at. */
  hidden: string[]
}

/** A certificate counts that ends within this time. */
const SOON_MS = 14 * 86_400_000
/** A certificate of a short life counts only when less than this share of it is left: others are renewed by then. */
const LEFT_SHARE = 1 / 4

export function judgeEndings({ nowMs, certificates, hidden }: EndingsFacts): Finding[] {
  const findings = certificates.flatMap((one) => judgeEnding(one, nowMs))
  const unseen = hidden.map((what) => unknown(what, 'only root and the user of the node may see it'))
  if (findings.length > 0 || certificates.length === 0) return [...findings, ...unseen]
  const names = certificates.map(({ what, endsMs }) => `${what} in ${durationText(endsMs - nowMs)}`)
  return [ok(`nothing expires soon: ${names.join(', ')}`), ...unseen]
}

function judgeEnding({ what, beginsMs, endsMs, isOwn = false, remedy }: Ending, nowMs: number): Finding[] {
  const leftMs = endsMs - nowMs
  const at = utcText(endsMs)
  if (leftMs <= 0)
    return [found('CERTIFICATE_EXPIRED', { subject: what, detail: `it expired ${at}`, remedy })]
  if (leftMs > SOON_MS || leftMs > (endsMs - beginsMs) * LEFT_SHARE) return []
  const detail = `it expires ${at}, in ${durationText(leftMs)}`
  return [
    found(isOwn ? 'NODE_CERTIFICATE_STUCK' : 'CERTIFICATE_EXPIRES', {
      subject: isOwn ? '' : what,
      detail,
      remedy,
    }),
  ]
}
