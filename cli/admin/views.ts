import { createHash, X509Certificate } from 'node:crypto'
import type { AnsweredFor } from '../../core/admin-api/calls.ts'
import { byteSize } from '../../core/byte-size.ts'
import { shortDigest } from '../../core/digest.ts'
import { durationText, utcSecondsText, utcText } from '../../core/time-text.ts'
import { type Cell, type Column, counted, type Style, wrappedLines } from '../table.ts'
import { callCommand, tableView } from './call-command.ts'

/** How people see what the admin API answers. Ids are cut to what tells them apart; `--json` has all of them. */

const ID_CHARS = 12
const shortId = (id: string) => id.slice(0, ID_CHARS)
const agoText = (ms: number | null) => (ms === null ? 'silent' : `${durationText(ms)} ago`)
const labelText = (labels: Record<string, string>) =>
  Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ')

export const clusterLsCommand = callCommand('clusters.list', {
  view: tableView(
    [
      { title: 'NAME', isFlexible: true },
      { title: 'CLUSTER' },
      { title: 'AUTHORITIES', align: 'right', isSpare: true },
      { title: 'KEYS', align: 'right', isSpare: true },
      { title: 'CHANGE' },
    ],
    ({ clusters }) => clusters,
    ({ name, cluster, authorities, signingKeys, rotation, keyRotation }) => [
      name,
      cluster,
      String(authorities.length),
      String(signingKeys.length),
      [rotation !== null && 'authority', keyRotation !== null && 'signing key'].filter(Boolean).join(', '),
    ],
    'the tracker has no cluster; `shoal admin cluster create` makes one',
  ),
})

export const keyLsCommand = callCommand('clusters.list', {
  view: tableView(
    [{ title: 'CLUSTER', isFlexible: true }, { title: 'KEY' }, { title: 'SHA-256' }, { title: 'STANDING' }],
    ({ clusters }) =>
      clusters.flatMap((it) => [
        ...it.authorities.map((pem, at) => ({
          ...{ name: it.name, kind: 'authority', key: fingerprintOf(pem) },
          standing: standingOf(at, 'issues', it.rotation?.previousEndsAtMs),
        })),
        ...it.signingKeys.map((key, at) => ({
          ...{
            name: it.name,
            kind: 'signing key',
            key: createHash('sha256').update(Buffer.from(key, 'base64url')).digest('hex').slice(0, 16),
          },
          standing: standingOf(at, 'signs', it.keyRotation?.previousEndsAtMs),
        })),
      ]),
    ({ name, kind, key, standing }) => [name, kind, key, standing],
    'the tracker has no cluster, and so no keys',
  ),
})

function fingerprintOf(pem: string): string {
  return new X509Certificate(pem).fingerprint256.replaceAll(':', '').slice(0, 16).toLowerCase()
}

function standingOf(at: number, verb: string, endsAtMs: number | undefined): string {
  if (at === 0) return verb
  return endsAtMs === undefined ? 'trusted' : `trusted until ${utcText(endsAtMs)} at the latest`
}

const NODE_COLUMNS: Column[] = [
  { title: 'NODE' },
  { title: 'ADDRESS' },
  { title: 'STATE' },
  { title: 'HEARD' },
  { title: 'BLOBS', align: 'right', isSpare: true },
  { title: 'JOINED', isSpare: true },
  { title: 'LABELS', isFlexible: true },
]

export const nodeLsCommand = callCommand('nodes.list', {
  view: tableView(
    NODE_COLUMNS,
    ({ nodes }) => nodes,
    (node) => [
      shortId(node.node),
      node.address,
      stateCell(node),
      agoText(node.heardAgoMs),
      String(node.swarms),
      utcText(node.joinedAtMs),
      labelText(node.labels),
    ],
    'no node fits',
  ),
})

type NodeState = AnsweredFor<'nodes.list'>['nodes'][number]

function stateCell({ isDrained, isPaused, isRevoked, heardAgoMs }: NodeState): Cell {
  const marks = [isRevoked && 'revoked', isPaused && 'paused', isDrained && 'drained'].filter(Boolean)
  if (marks.length > 0) return { text: marks.join(', '), style: isRevoked ? 'red' : 'yellow' }
  return heardAgoMs === null ? { text: 'silent', style: 'yellow' } : { text: 'ok', style: 'green' }
}

export const nodeInspectCommand = callCommand('nodes.inspect', {
  view: ({ node, listing, revocations }, { look }) => {
    const at = listing === null ? 'nobody: it is silent' : `${listing.address} port ${listing.port}`
    const reached = listing?.isReached === false ? ' (the tracker does not reach it there)' : ''
    const { text } = stateCell(node) as { text: string }
    return [
      ...fact('node', node.node),
      ...fact('cluster', node.cluster),
      ...fact('state', text),
      ...fact('heard', agoText(node.heardAgoMs)),
      ...fact('joined from', node.address),
      ...fact('peers are sent to', at + reached),
      ...fact('blobs', String(node.swarms)),
      ...fact('joined', utcText(node.joinedAtMs)),
      ...fact('certificate', `of ${utcText(node.renewedAtMs)}`),
      ...fact('wire version', String(node.wire)),
      ...fact('labels', labelText(node.labels) || 'none'),
      ...revocations.flatMap(({ sequence, atMs }) => fact('revocation', `${sequence}, of ${utcText(atMs)}`)),
    ]
    function fact(name: string, text: string): string[] {
      return wrappedLines(text, name.padEnd(19), look)
    }
  },
})

export const revocationLsCommand = callCommand('revocations.list', {
  view: tableView(
    [
      { title: 'NUMBER', align: 'right' },
      { title: 'OF' },
      { title: 'TARGET', isFlexible: true },
      { title: 'SINCE' },
      { title: 'WHY' },
    ],
    ({ revocations }) => revocations,
    ({ sequence, kind, target, atMs, endsAtMs, isLeft }) => [
      String(sequence),
      kind,
      shortId(target),
      utcText(atMs),
      isLeft ? 'it left' : endsAtMs === null ? 'an administrator' : 'the tracker’s verdict',
    ],
    'nothing is revoked',
  ),
})

export const pauseLsCommand = callCommand('pauses.list', {
  view: tableView(
    [{ title: 'CLUSTER' }, { title: 'NODE', isFlexible: true }, { title: 'SINCE' }],
    ({ pauses }) => pauses,
    ({ cluster, node, atMs }) => [cluster, node === null ? 'all of them' : shortId(node), utcText(atMs)],
    'nothing is paused',
  ),
})

export const registryLsCommand = callCommand('registries.list', {
  view: tableView(
    [{ title: 'REGISTRY', isFlexible: true }, { title: 'CALLERS COME WITH' }, { title: 'ISSUER' }],
    ({ registries }) => registries,
    ({ host, kinds, issuer }) => [host, kinds.join(', ') || 'nobody came yet', issuer ?? ''],
    'the tracker has no registry: set registries',
  ),
})

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

type SwarmLine = AnsweredFor<'swarms.list'>['swarms'][number]

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

type PullLine = AnsweredFor<'pulls.list'>['pulls'][number]

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
      shortId(it.pull),
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

export const auditCommand = callCommand('audit.list', {
  view: tableView(
    [
      { title: 'WHEN', isSpare: true },
      { title: 'WHO' },
      { title: 'WHAT' },
      { title: 'TO', isFlexible: true },
    ],
    ({ entries }) => entries,
    ({ atMs, actor, action, target }) => [utcSecondsText(atMs), actor, action, target],
    'no entry fits',
  ),
})

export const settingsCommand = callCommand('settings.list', {
  view: tableView(
    [{ title: 'SETTING' }, { title: 'VALUE', isFlexible: true }, { title: '' }],
    ({ settings }) => settings,
    ({ name, value, isDefault }) => [name, valueText(value), isDefault ? 'default' : ''],
    '',
  ),
})

function valueText(value: unknown): string {
  if (value === null) return ''
  const { host, port } = value as { host?: string; port?: number }
  if (host !== undefined && port !== undefined) return `${host}:${port}`
  return typeof value === 'string' ? value : JSON.stringify(value)
}

export const whoamiCommand = callCommand('self.show', {
  view: ({ name, role, endsAtMs }) => [
    `${name}, with the role ${role}${endsAtMs === null ? '' : `, until ${utcText(endsAtMs)}`}`,
  ],
})
