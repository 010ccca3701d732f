import { durationText } from '../../../core/time-text.ts'
import { type Finding, found, info, ok, unknown } from '../finding.ts'
import type { NodeReach } from '../node-view.ts'

/** What node and tracker found when they dialled; `failure`: why they were not asked, or could not. */
export interface ReachFacts {
  reach?: NodeReach | undefined
  failure?: { code: string; message: string } | undefined
}

/** Refusals of the tracker by its codes, in words for whoever asked. */
const WORDS: Readonly<Record<string, string>> = {
  ROUTE_UNKNOWN: 'the tracker is of an older version',
  REQUESTS_TOO_MANY: 'the tracker was asked too often: try again in half a minute',
}

/** Whether this node is reached from the other side. */
export function judgePort({ reach, failure }: ReachFacts): Finding[] {
  if (reach === undefined) return [notAsked('whether other nodes reach this one', failure)]
  const { own } = reach
  if (own === null)
    return [unknown('whether other nodes reach this one', 'the tracker has not heard this node yet')]
  const at = `${own.address} port ${own.port}`
  switch (own.outcome) {
    case 'reached':
      return [ok(`the tracker reaches this node at ${at}`)]
    case 'foreign':
      return [found('PORT_FOREIGN', { subject: at })]
    case 'refused':
      return [
        found('PORT_UNREACHED', { subject: at, detail: 'nothing listens there, or a firewall refuses' }),
      ]
    default:
      return [
        found('PORT_UNREACHED', { subject: at, detail: 'no answer: a firewall drops, or NAT leads nowhere' }),
      ]
  }
}

/** Whether this node reaches another one. */
export function judgePeers({ reach, failure }: ReachFacts): Finding[] {
  if (reach === undefined) return [notAsked('whether this node reaches others', failure)]
  if (reach.other === null)
    return [
      reach.nodes > 1
        ? info('no other node holds a blob that this one pulled, so none was dialled')
        : info('no other node is in the cluster now'),
    ]
  return judgeOther(reach.other)
}

/** `--node N`: that node, from the tracker and from here. */
export function judgeNamed(node: string, { reach, failure }: ReachFacts): Finding[] {
  if (reach === undefined) return [notAsked(`node ${node}`, failure)]
  const { other } = reach
  if (other === null) return [found('NODE_UNHEARD', { subject: node })]
  const heard = ok(`the tracker heard from it ${durationText(other.heardAgoMs)} ago, at ${at(other)}`)
  const port =
    other.isReached === false
      ? [found('PORT_UNREACHED', { subject: at(other), remedy: 'Run `shoal doctor` on its machine.' })]
      : []
  const tried =
    other.isReached === undefined ? [unknown('whether the tracker reaches its port', 'not tried yet')] : []
  return [heard, ...port, ...tried, ...judgeOther(other)]
}

function judgeOther(other: NonNullable<NodeReach['other']>): Finding[] {
  const { link } = other
  const subject = `node ${other.node.slice(0, 12)}… at ${at(other)}`
  if (link.outcome === 'linked') return [ok(`a link opens to ${subject}`)]
  if (link.outcome === 'unlinked') return [info(`${subject} has no links: it is of an older version`)]
  return [found('PEERS_UNREACHABLE', { subject, detail: `${link.outcome}: ${link.reason ?? 'no reason'}` })]
}

function notAsked(what: string, failure: ReachFacts['failure']): Finding {
  // The node puts the code of the tracker behind its words (TrackerRefusedError).
  const code = failure?.code === 'TRACKER_REFUSED' ? /: ([A-Z_]+)$/.exec(failure.message)?.[1] : undefined
  const words = code !== undefined && Object.hasOwn(WORDS, code) ? WORDS[code] : undefined
  return unknown(what, words ?? failure?.message)
}

function at({ address, port }: { address: string; port: number }): string {
  return `${address} port ${port}`
}
