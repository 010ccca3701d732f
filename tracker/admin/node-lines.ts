import type { AnsweredFor, TakenFor } from '../../core/admin-api/calls.ts'
import type { NodeRecord } from '../store/store.ts'
import type { AdminParts } from './handler.ts'

/** A node as administrators see it: its record, their marks, and what the tracker hears of it. */

export type NodeLine = AnsweredFor<'nodes.list'>['nodes'][number]
type Filter = Pick<TakenFor<'nodes.list'>, 'label' | 'state'>
type Parts = Pick<AdminParts, 'nodeMarks' | 'pauses' | 'peers' | 'revocations' | 'nowMs'>

export function nodeLine(
  { nodeMarks, pauses, peers, revocations, nowMs }: Parts,
  record: NodeRecord,
): NodeLine {
  const { cluster, node } = record
  const table = peers.of(cluster)
  return {
    ...record,
    ...nodeMarks.of(record),
    isPaused: pauses.isPaused(cluster, node),
    isRevoked: revocations.isNodeRevoked(cluster, node),
    heardAgoMs: table.listing(node, nowMs())?.heardAgoMs ?? null,
    swarms: table.swarmsOf(node).length,
  }
}

/** Whether a list with this filter shows the node. */
export function isShown(line: NodeLine, { label, state }: Filter): boolean {
  return (label === undefined || hasLabel(line, label)) && (state === undefined || isIn(line, state))
}

function hasLabel({ labels }: NodeLine, wanted: string): boolean {
  const [name = '', value] = wanted.split('=', 2)
  return Object.hasOwn(labels, name) && (value === undefined || labels[name] === value)
}

function isIn(line: NodeLine, state: NonNullable<Filter['state']>): boolean {
  switch (state) {
    case 'heard':
      return line.heardAgoMs !== null
    case 'silent':
      return line.heardAgoMs === null
    case 'drained':
      return line.isDrained
    case 'paused':
      return line.isPaused
    case 'revoked':
      return line.isRevoked
  }
}
