import { type Finding, found, ok, unknown } from '../finding.ts'
import type { NodeStatus } from '../node-view.ts'

export interface JoinedFacts {
  status?: NodeStatus['node'] | undefined
  /** The node's certificate in its data folder. `hidden`: only root and the node's user may know. */
  certificate: 'none' | 'hidden' | { endsMs: number }
  nowMs: number
}

const JOIN =
  'Run `shoal join` with a join string; `shoal admin token create`, on the tracker’s machine, makes one.'

export function judgeJoined({ status, certificate, nowMs }: JoinedFacts): Finding[] {
  if (status?.joined === true) return [ok(`node ${status.id}, cluster ${status.cluster}`)]
  if (status !== undefined) return [found('NOT_JOINED', { detail: status.reason })]
  if (certificate === 'hidden')
    return [unknown('the membership', 'only root and the user of the node may see it')]
  if (certificate === 'none') return [found('NOT_JOINED', { remedy: JOIN })]
  return certificate.endsMs <= nowMs
    ? [
        found('NOT_JOINED', {
          detail: `the certificate of this node ended ${new Date(certificate.endsMs).toISOString()}`,
        }),
      ]
    : [ok('this machine has joined; the node is not there to say more')]
}
