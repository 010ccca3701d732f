import { createHash, X509Certificate } from 'node:crypto'
import { agoText, utcText } from '../../core/time-text.ts'
import { type Cell, type Column, wrappedLines } from '../table.ts'
import { callCommand, tableView } from './call-command.ts'
import { shortId, shortIds } from './short-ids.ts'

/** How people see what the admin API answers. Ids are cut to what tells them apart; `--json` has all of them. */

const heardText = (ms: number | null) => (ms === null ? 'silent' : agoText(ms))
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
      heardText(node.heardAgoMs),
      String(node.swarms),
      utcText(node.joinedAtMs),
      labelText(node.labels),
    ],
    'no node fits',
  ),
})

interface NodeState {
  isDrained: boolean
  isPaused: boolean
  isRevoked: boolean
  heardAgoMs: number | null
}

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
      ...fact('heard', heardText(node.heardAgoMs)),
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
      shortIds(target),
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

export const auditCommand = callCommand('audit.list', {
  view: tableView(
    [
      { title: 'WHEN (UTC)', isSpare: true },
      { title: 'WHO' },
      { title: 'WHAT' },
      { title: 'TO', isFlexible: true },
    ],
    ({ entries }) => entries,
    ({ atMs, actor, action, target }) => [
      utcText(atMs).replace(' UTC', ''),
      shortIds(actor),
      action,
      shortIds(target),
    ],
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
  if (Array.isArray(value)) return value.map((one) => one?.host ?? valueText(one)).join(', ')
  const { host, port } = value as { host?: string; port?: number }
  if (host !== undefined && port !== undefined) return `${host}:${port}`
  return typeof value === 'string' ? value : JSON.stringify(value)
}

export const whoamiCommand = callCommand('self.show', {
  view: ({ name, role, endsAtMs }) => [
    `${name}, with the role ${role}${endsAtMs === null ? '' : `, until ${utcText(endsAtMs)}`}`,
  ],
})
