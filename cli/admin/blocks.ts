import { counted } from '../table.ts'
import { callCommand, tableView } from './call-command.ts'

/** What an administrator blocks in an emergency. */

const timeText = (atMs: number) => new Date(atMs).toISOString().slice(0, 16).replace('T', ' ')

export const blockLsCommand = callCommand('blocks.list', {
  view: tableView(
    [
      { title: 'BLOCK' },
      { title: 'OF' },
      { title: 'TARGET', isFlexible: true },
      { title: 'CLUSTER' },
      { title: 'SINCE' },
    ],
    ({ blocks }) => blocks,
    ({ block, kind, target, cluster, atMs }) => [block, KIND_WORDS[kind], target, cluster, timeText(atMs)],
    'nothing is blocked',
  ),
})

const KIND_WORDS = { repository: 'repository', digest: 'blob', node: 'node' } as const

export const blockAddCommand = callCommand('blocks.create', {
  view: ({ block: { block, kind, target }, blobs }) => [
    `${KIND_WORDS[kind]} ${target} is blocked: nodes cut its transfers with their next heartbeat`,
    ...(blobs === null ? [] : [coverage(kind, blobs)]),
    `\`shoal admin block remove ${block}\` undoes it`,
  ],
})

function coverage(kind: keyof typeof KIND_WORDS, blobs: number): string {
  if (blobs > 0) return `it covers ${counted(blobs, 'blob')} on record`
  return kind === 'digest'
    ? 'no blob on record has this digest: the digest of an image is its manifest’s, which nodes do not share; block its repository or its layers'
    : 'no pull from it is on record: check its name (`shoal admin image ls`)'
}

export const blockRemoveCommand = callCommand('blocks.remove', {
  view: ({ block }) => [`block ${block} is removed: what it was of is shared again once somebody pulls it`],
})
