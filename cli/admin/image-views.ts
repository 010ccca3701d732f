import { byteSize } from '../../core/byte-size.ts'
import { durationText, utcText } from '../../core/time-text.ts'
import { type Cell, type Column, counted, type Style, wrappedLines } from '../table.ts'
import { callCommand, tableView } from './call-command.ts'
import { shortDigest, shortId, shortPull } from './short-ids.ts'

/** How people see what nodes share: images, blobs and pulls. */

const REPOSITORY_COLUMN: Column = { title: 'IMAGE', isFlexible: true }

export const imageLsCommand = callCommand('images.list', {
  view: tableView(
    [
      REPOSITORY_COLUMN,
      { title: 'CLUSTER', isSpare: true },
      { title: 'PULLS', align: 'right', isSpare: true },
      { title: 'NODES', align: 'right' },
      { title: 'LAST PULL' },
    ],
    ({ images }) => images,
    ({ registry, repository, cluster, pulls, nodes, newestPullAtMs }) => [
      `${registry}/${repository}`,
      cluster,
      String(pulls),
      String(nodes),
      utcText(newestPullAtMs),
    ],
    'no pull is on record',
  ),
})

interface SwarmLine {
  swarm: string
  registry: string
  digest: string
  bytes: number
  isConfirmed: boolean
  seeds: number
  leechers: number
}

const SWARM_COLUMNS: Column[] = [
  { title: 'BLOB' },
  { title: 'SWARM' },
  { title: 'REGISTRY', isFlexible: true },
  { title: 'SIZE', align: 'right', isSpare: true },
  { title: 'SEEDS', align: 'right' },
  { title: 'FETCH', align: 'right' },
  { title: 'HASHES', isSpare: true },
]
const swarmCells = (it: SwarmLine): Cell[] => [
  shortDigest(it.digest),
  shortId(it.swarm),
  it.registry,
  byteSize(it.bytes),
  String(it.seeds),
  String(it.leechers),
  it.isConfirmed ? 'confirmed' : 'claimed',
]
const NO_BLOB = 'no blob fits'

export const imageInspectCommand = callCommand('images.inspect', {
  positionals: ['image'],
  without: ['registry', 'repository'],
  read: ({ image, ...given }) => ({ ...given, ...imageParts(String(image)) }),
  view: tableView(SWARM_COLUMNS, ({ blobs }) => blobs, swarmCells, NO_BLOB),
})

/** `registry.example.com/team/app`, also with a tag, which the tracker does not know. */
function imageParts(image: string): { registry: string; repository: string } {
  const at = image.indexOf('/')
  const repository = image.slice(at + 1).replace(/(:[^/]*|@.*)$/, '')
  return { registry: at < 0 ? '' : image.slice(0, at), repository }
}

export const blobLsCommand = callCommand('swarms.list', {
  view: tableView(SWARM_COLUMNS, ({ swarms }) => swarms, swarmCells, NO_BLOB),
})

export const blobInspectCommand = callCommand('swarms.inspect', {
  view: ({ swarm, piecesInAll, holders, leases, completions, disputes }, { look, nowMs }) => [
    ...wrappedLines(swarm.digest, 'blob           ', look),
    ...wrappedLines(swarm.registry, 'registry       ', look),
    `size           ${byteSize(swarm.bytes)} in ${counted(piecesInAll, 'piece')}`,
    `hashes         ${swarm.pieces} published, ${swarm.isConfirmed ? 'confirmed' : `matched by ${counted(completions.length, 'node')}`}, epoch ${swarm.epoch}`,
    `nodes          ${swarm.seeds} have it, ${swarm.leechers} fetch it`,
    ...holders.map((node) => `               ${node}`),
    ...leases.map(
      ({ node, firstPiece, pieces, expiresAtMs }) =>
        `lease          pieces ${firstPiece} to ${firstPiece + pieces - 1} for ${shortId(node)}, ${durationText(expiresAtMs - nowMs)} left`,
    ),
    ...(disputes === 0 ? [] : [`disputes       ${disputes}`]),
  ],
})

interface PullLine {
  isRevoked: boolean
  blobs: number
  completeBlobs: number
  expiresAtMs: number
}

function pullState({ isRevoked, blobs, completeBlobs, expiresAtMs }: PullLine, nowMs: number): Cell {
  if (isRevoked) return { text: 'revoked', style: 'red' }
  if (completeBlobs === blobs) return { text: 'complete', style: 'green' as Style }
  return expiresAtMs <= nowMs ? 'ended' : `${completeBlobs}/${blobs}`
}

export const pullLsCommand = callCommand('pulls.list', {
  view: tableView(
    [
      { title: 'PULL' },
      { title: 'IMAGE', isFlexible: true },
      { title: 'NODE', isSpare: true },
      { title: 'GRANTED', isSpare: true },
      { title: 'BLOBS' },
    ],
    ({ pulls }) => pulls,
    (it, nowMs) => [
      shortPull(it.pull),
      `${it.registry}/${it.repository}`,
      shortId(it.node),
      utcText(it.grantedAtMs),
      pullState(it, nowMs),
    ],
    'no pull fits',
  ),
})

export const pullInspectCommand = callCommand('pulls.inspect', {
  view: ({ pull, keySha256, tokenHash, blobs }, { look, nowMs }) => {
    const state = pullState(pull, nowMs)
    return [
      ...wrappedLines(`${pull.registry}/${pull.repository}`, 'image          ', look),
      `pull           ${pull.pull}`,
      `node           ${pull.node}`,
      `state          ${typeof state === 'string' ? state : state.text}`,
      ...wrappedLines(pull.subject || 'none', 'subject        ', look),
      `granted        ${utcText(pull.grantedAtMs)}`,
      `certificate    until ${utcText(pull.expiresAtMs)}`,
      `key            ${keySha256}`,
      `token          ${tokenHash ?? 'none'}`,
      ...blobs.flatMap(({ digest, isComplete }) =>
        wrappedLines(isComplete ? `${digest} complete` : digest, 'blob           ', look),
      ),
    ]
  },
})
