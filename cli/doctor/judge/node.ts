import { utcText } from '../../../core/time-text.ts'
import { type Finding, found, ok, unknown } from '../finding.ts'
import type { NodeStatus } from '../node-view.ts'

export interface NodeFacts {
  /** Of the node that has the data folder; undefined: none, or nobody may tell. */
  pid?: number | undefined
  status?: NodeStatus | undefined
  /** Why the node was not asked: it is down, this user may not, or its answer cannot be used. */
  failure?: { code: string; message: string } | undefined
}

export function judgeNode({ pid, status, failure }: NodeFacts): Finding[] {
  if (status !== undefined) {
    const { version, started } = status.node
    return [ok(`version ${version} runs since ${utcText(started)}`)]
  }
  if (failure?.code === 'NODE_DENIED') return [unknown('the state of the node', failure.message)]
  if (pid !== undefined || failure?.code !== 'NODE_DOWN')
    return [
      found('NODE_MUTE', { subject: pid === undefined ? '' : `process ${pid}`, detail: failure?.message }),
    ]
  return [found('NODE_DOWN', { detail: failure.message })]
}
