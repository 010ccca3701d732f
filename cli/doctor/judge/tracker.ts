import { type Finding, found, ok, unknown } from '../finding.ts'

export interface TrackerFacts {
  /** Undefined: no setting names it and this machine has not joined. */
  url: string | undefined
  /** Only root and the node's user may know it. */
  isDenied?: boolean
  failure?: { kind: 'certificate' | 'time' | 'silent'; reason: string } | undefined
  /** What the node trusts for it is hidden from this user. */
  isUnverified?: boolean
  /** The code of its refusal: a stranger is refused. */
  code?: string | undefined
  /** As the node sees it. */
  state?: string | undefined
}

/** What a tracker that runs says to a caller without a certificate. */
const STRANGER = 'CERTIFICATE_REQUIRED'

/** One tracker that answers is enough: what is wrong with the others of the cluster is a warning then. */
export function judgeTrackers(all: readonly TrackerFacts[]): Finding[] {
  const judged = all.map(judgeTracker)
  const isWrong = (findings: Finding[]) => findings.some(({ level }) => level === 'error')
  if (!judged.some(isWrong) || judged.every(isWrong)) return judged.flat()
  return judged
    .flat()
    .map((finding) => (finding.level === 'error' ? { ...finding, level: 'warning' as const } : finding))
}

function judgeTracker({ url, isDenied, failure, isUnverified, code, state }: TrackerFacts): Finding[] {
  if (url === undefined) {
    const why = isDenied
      ? 'only root and the user of the node may know which it is'
      : 'this machine has not joined a cluster, and trackerUrl names none'
    return [unknown('the tracker', why)]
  }
  const subject = url.replace(/^https:\/\//, '')
  if (failure?.kind === 'certificate')
    return [found('TRACKER_UNVERIFIED', { subject, detail: failure.reason })]
  // Its clock or its certificate: the links of both say which.
  if (failure?.kind === 'time')
    return [
      found('TRACKER_UNVERIFIED', {
        subject,
        detail: failure.reason,
        remedy: 'Renew the certificate of the tracker, or set the clock: see `clock` and `expiry`.',
      }),
    ]
  if (failure !== undefined) return [found('TRACKER_UNREACHED', { subject, detail: failure.reason })]
  if (code === 'TRACKER_LOCKED') return [found('TRACKER_LOCKED', { subject })]
  if (code !== STRANGER)
    return [
      found('TRACKER_UNREACHED', {
        subject,
        detail: `what answers there is no tracker of Shoal (${code ?? 'no code'})`,
      }),
    ]
  const seen = state === 'silent' ? '; the node has not heard from it, and tries again' : ''
  if (isUnverified)
    return [
      ok(`${subject} answers${seen}`),
      unknown(
        'whether its certificate verifies',
        'only root and the user of the node may see what it trusts',
      ),
    ]
  return [ok(`${subject} answers, and its certificate verifies${seen}`)]
}
