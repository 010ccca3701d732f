import { byteSize } from '../core/byte-size.ts'
import { SEVERITIES } from '../core/condition-texts.ts'
import { plainText } from '../core/plain-text.ts'
import { durationText } from '../core/time-text.ts'
import {
  allBytes,
  type NodeStatus,
  nameOf,
  type ShownCondition,
  type ShownPull,
  SOURCE_WORDS,
  SOURCES,
  type Source,
  sizeOf,
} from './node-status.ts'
import { counted, cut, GRAVITY, type Look, painted, type Style, tableLines, wrappedLines } from './table.ts'

/** What `shoal status` shows, as lines. Pure: the same status makes the same page. */

/** Pulls that have ended and are listed; `--json` has all of the last hour. */
export const ENDED_PULLS_SHOWN_MAX = 8
/** Runs that are shown with a bar. */
export const RUNNING_PULLS_SHOWN_MAX = 16
const BAR_COLUMNS = 18

export interface PageFacts {
  nowMs: number
  /** Bytes per second of running pulls, by their id, where they were measured; otherwise the mean since they began. */
  rates?: ReadonlyMap<string, number>
}

export function statusPage(status: NodeStatus, facts: PageFacts, look: Look): string[] {
  const sections = [
    headLines(status, facts, look),
    runningLines(status, facts, look),
    endedLines(status, facts, look),
    totalLines(status, look),
    cacheLines(status, look),
    conditionLines(status.conditions, facts, look),
  ]
  return sections
    .filter((lines) => lines.length > 0)
    .flatMap((lines, index) => (index === 0 ? lines : ['', ...lines]))
}

const STATE: Record<NodeStatus['ready'], { word: string; style: Style }> = {
  ready: { word: 'shares', style: 'green' },
  starting: { word: 'starts', style: 'yellow' },
  'not ready': { word: 'does not share', style: 'red' },
}

function headLines(status: NodeStatus, { nowMs }: PageFacts, look: Look): string[] {
  const { node, tracker, registries, peers } = status
  const isPaused = status.codes.some((code) => code.startsWith('PAUSED'))
  const state = isPaused ? { word: 'is paused', style: 'yellow' as const } : STATE[status.ready]
  const isDegraded = status.status === 'degraded' && status.ready === 'ready' && !isPaused
  const word = isDegraded ? `${state.word}, with warnings` : state.word
  const up = durationText(nowMs - Date.parse(node.started))
  const first = `${painted('●', isDegraded ? 'yellow' : state.style, look)} ${painted(`The node ${word}.`, 'bold', look)}  shoal ${plainText(node.version)}, up ${up}`
  const shared = registries.filter((one) => one.state === 'shared').map(({ host }) => host)
  const others = registries
    .filter((one) => one.state !== 'shared')
    .map(({ host, state }) => `${host} (${state})`)
  const links = [
    `${peers.connected} connected`,
    ...(peers.unreachable > 0 ? [`${peers.unreachable} not reached`] : []),
    ...(peers.refused > 0 ? [`${peers.refused} refused`] : []),
  ]
  const rows: [string, string][] = [
    ['cluster', node.joined ? `${node.cluster}, as ${node.id}` : `not joined: ${node.reason ?? 'unknown'}`],
    ['tracker', trackerText(tracker, nowMs)],
    ['peers', links.join(', ')],
    ...(node.zone === '' ? [] : [['zone', zoneText(status)] satisfies [string, string]]),
    ['registries', [...shared, ...others].join(', ') || 'none'],
  ]
  return [first, ...rows.flatMap(([name, text]) => wrappedLines(text, `  ${name.padEnd(12)}`, look))]
}

function zoneText({ node: { zone, rack }, peers: { bytes } }: NodeStatus): string {
  const place = rack === '' ? zone : `${zone}, rack ${rack}`
  const moved = `from peers of this zone ${byteSize(bytes.near)}, of others ${byteSize(bytes.far)}`
  return `${plainText(place)}; ${moved} since the start`
}

function trackerText({ url, state, since }: NodeStatus['tracker'], nowMs: number): string {
  if (state === 'unknown') return `${url ?? 'none yet'}, has not answered yet`
  return `${url ?? 'none yet'}, ${state} for ${durationText(nowMs - Date.parse(since))}`
}

function runningLines(status: NodeStatus, facts: PageFacts, look: Look): string[] {
  const running = status.pulls.filter(({ outcome }) => outcome === 'running')
  if (running.length === 0) return []
  const shown = running.slice(0, RUNNING_PULLS_SHOWN_MAX)
  const more = running.length - shown.length
  return [
    painted('Pulls now', 'bold', look),
    ...shown.flatMap((pull) => runningPull(pull, facts, look)),
    ...(more > 0 ? [`  and ${more} more`] : []),
    ...wrappedLines(LEGEND, '  ', look).map((line) => painted(line, 'dim', look)),
  ]
}

function runningPull(pull: ShownPull, { nowMs, rates }: PageFacts, look: Look): string[] {
  const got = allBytes(pull.bytes)
  const sizes = pull.layers.map(sizeOf)
  const total = sizes.reduce<number>((sum, size = 0) => sum + size, 0)
  const hasTotal = !sizes.includes(undefined) && total > 0
  const seconds = Math.max(0.001, (nowMs - Date.parse(pull.began)) / 1000)
  const rate = rates?.get(pull.id) ?? got / seconds
  const left = hasTotal && rate > 0 ? `${durationText(((total - got) / rate) * 1000)} left` : ''
  const done = pull.layers.filter(({ outcome }) => outcome === 'done').length
  const figures = [
    hasTotal ? `${Math.floor((Math.min(got, total) / total) * 100)} %`.padStart(5) : '',
    hasTotal ? `${byteSize(got)} of ${byteSize(total)}` : byteSize(got),
    `${byteSize(rate)}/s`,
    left,
    counted(pull.peers ?? 0, 'peer'),
  ]
  const layers = `${done}/${counted(pull.layers.length, 'layer')}`
  const room = look.columns - BAR_COLUMNS - 5
  return [
    titleLine(pull, layers, layers, look),
    `  ${bar(pull.bytes, hasTotal ? total : got, look)} ${fitting(figures, room)}`,
  ]
}

/** The last figures give way when the page is too narrow. */
function fitting(figures: string[], room: number): string {
  const shown = figures.filter((text) => text !== '')
  while (shown.length > 1 && shown.join('  ').length > room) shown.pop()
  return shown.join('  ')
}

const MARKS: Record<Source, { mark: string; style: Style }> = {
  peers: { mark: '#', style: 'green' },
  registry: { mark: '=', style: 'yellow' },
  cache: { mark: '~', style: 'cyan' },
  passedThrough: { mark: '-', style: 'red' },
}
const LEGEND = '# peers, = registry, ~ cache, - direct (not shared), . to come'

/** The bytes by source, to scale. */
function bar(bytes: Record<Source, number>, total: number, look: Look): string {
  let drawn = 0
  let sum = 0
  const parts = SOURCES.map((source) => {
    sum += bytes[source]
    const until = total === 0 ? 0 : Math.min(BAR_COLUMNS, Math.floor((sum / total) * BAR_COLUMNS))
    const { mark, style } = MARKS[source]
    const part = painted(mark.repeat(Math.max(0, until - drawn)), style, look)
    drawn = Math.max(drawn, until)
    return part
  })
  return `[${parts.join('')}${painted('.'.repeat(BAR_COLUMNS - drawn), 'dim', look)}]`
}

function endedLines(status: NodeStatus, { nowMs }: PageFacts, look: Look): string[] {
  const ended = status.pulls.filter(({ outcome }) => outcome !== 'running')
  if (status.pulls.length === 0) return ['No pull through this node in the last hour.']
  if (ended.length === 0) return []
  const shown = ended.slice(0, ENDED_PULLS_SHOWN_MAX)
  const more = ended.length - shown.length
  return [
    painted('Pulls of the last hour', 'bold', look),
    ...shown.flatMap((pull) => endedPull(pull, nowMs, look)),
    ...(more > 0 ? [`  and ${more} more (--json has them)`] : []),
  ]
}

const RESULTS: Record<ShownPull['outcome'], { word: string; style?: Style }> = {
  running: { word: 'runs' },
  done: { word: 'done', style: 'green' },
  interrupted: { word: 'cut off', style: 'yellow' },
  failed: { word: 'failed', style: 'red' },
}

function endedPull(pull: ShownPull, nowMs: number, look: Look): string[] {
  const [beganMs, endedMs] = [Date.parse(pull.began), Date.parse(pull.ended ?? pull.began)]
  const total = allBytes(pull.bytes)
  const sources = SOURCES.filter((source) => pull.bytes[source] > 0)
  const shares = sources.map((source) => `${SOURCE_WORDS[source]} ${shareText(pull.bytes[source], total)}`)
  const { word, style } = RESULTS[pull.outcome]
  const ago = `, ${durationText(nowMs - endedMs)} ago`
  const amount = `${byteSize(total)} in ${durationText(endedMs - beganMs)}`
  return [
    titleLine(pull, word + ago, `${painted(word, style, look)}${ago}`, look),
    `    ${[amount, ...(shares.length === 0 ? [] : [shares.join(', ')])].join(': ')}`,
  ]
}

/** The pull's name, and at the right end a note. @param painted the note with its colours */
function titleLine(pull: ShownPull, note: string, noteShown: string, look: Look): string {
  const room = look.columns - 4 - note.length
  return `  ${cut(plainText(nameOf(pull)), room).padEnd(room)}  ${noteShown}`
}

/** So that little is not shown as nothing, nor almost all as all. */
export function shareText(part: number, total: number): string {
  if (part === 0 || total === 0) return '-'
  const percent = (part / total) * 100
  if (percent < 1) return '<1 %'
  return percent > 99 && percent < 100 ? '>99 %' : `${Math.round(percent)} %`
}

function totalLines({ totals }: NodeStatus, look: Look): string[] {
  const row = (name: string, bytes: NodeStatus['totals']['sinceStart']) => [
    `  ${name}`,
    ...SOURCES.map((source) => byteSize(bytes[source])),
    byteSize(bytes.toPeers),
  ]
  const right = { align: 'right' as const }
  const columns = [
    { title: '', isFlexible: true },
    ...['FROM PEERS', 'REGISTRY', 'CACHE', 'DIRECT', 'TO PEERS'].map((title) => ({
      title,
      ...right,
    })),
  ]
  const { sinceStart, sinceInstall } = totals
  const since = `since ${sinceInstall.since.slice(0, 10)}`
  return [
    painted('Bytes by source', 'bold', look),
    ...tableLines(columns, [row('since the start', sinceStart), row(since, sinceInstall)], look),
  ]
}

function cacheLines({ cache }: NodeStatus, look: Look): string[] {
  const evicted =
    cache.evictions === 0 ? '' : `; ${counted(cache.evictions, 'blob')} made room for others since the start`
  const held = `${counted(cache.blobs, 'blob')}, ${byteSize(cache.bytes)} of ${byteSize(cache.bytesMax)}`
  return wrappedLines(`Cache: ${held}${evicted}.`, '', look)
}

/** The worst first. Conditions of one code have their words once. */
export function conditionLines(
  conditions: readonly ShownCondition[],
  { nowMs }: PageFacts,
  look: Look,
): string[] {
  if (conditions.length === 0) return ['Nothing keeps this node from sharing.']
  const byCode = [...Map.groupBy(conditions, ({ code }) => code).values()]
  const sorted = byCode.sort(
    ([one], [other]) => SEVERITIES.indexOf(other!.severity) - SEVERITIES.indexOf(one!.severity),
  )
  return sorted.flatMap((same, index) => [...(index === 0 ? [] : ['']), ...oneCondition(same, nowMs, look)])
}

function oneCondition(same: ShownCondition[], nowMs: number, look: Look): string[] {
  const { code, title, severity, text, cost, remedy } = same[0]!
  const { word, style } = GRAVITY[severity]
  const head = `${painted(`${word}:`, style, look)} ${painted(plainText(title), 'bold', look)} ${painted(`[${plainText(code)}]`, 'dim', look)}`
  const abouts = same.map((one) => aboutText(one, nowMs)).filter((about) => about !== '')
  return [
    head,
    ...abouts.flatMap((about) => wrappedLines(about, '  about: ', look)),
    ...wrappedLines(`${text} ${cost}`, '  ', look),
    ...wrappedLines(remedy, '  do: ', look),
  ]
}

function aboutText({ subject, facts, since }: ShownCondition, nowMs: number): string {
  const known = Object.entries(facts).map(([name, value]) => `${name}: ${value}`)
  return [
    ...(subject === '' ? [] : [subject]),
    `for ${durationText(nowMs - Date.parse(since))}`,
    ...known,
  ].join('; ')
}
