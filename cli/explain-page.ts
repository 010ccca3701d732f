import { byteSize } from '../core/byte-size.ts'
import { shortDigest } from '../core/digest.ts'
import { plainText } from '../core/plain-text.ts'
import { reasonWords } from '../core/pull-reasons.ts'
import { durationText, utcSecondsText } from '../core/time-text.ts'
import {
  allBytes,
  nameOf,
  type ShownLayer,
  type ShownPull,
  SOURCE_WORDS,
  SOURCES,
  sizeOf,
} from './node-status.ts'
import { shareText } from './status-page.ts'
import { type Cell, counted, type Look, painted, tableLines, wrappedLines } from './table.ts'

/** What `shoal explain` shows of one pull, as lines. Pure: the same record makes the same page. */

/** Layers that are listed; `--json` has all. */
export const LAYERS_SHOWN_MAX = 40

export function explainPage(
  { pull, recorded }: { pull: ShownPull; recorded: number },
  nowMs: number,
  look: Look,
): string[] {
  const sections = [
    headLines(pull, recorded, nowMs, look),
    sourceLines(pull, look),
    layerLines(pull, look),
    reasonLines(pull, look),
  ]
  return sections.flatMap((lines, index) => (index === 0 ? lines : ['', ...lines]))
}

const RESULT_WORDS: Record<ShownPull['outcome'], string> = {
  running: 'Running for',
  done: 'Done in',
  interrupted: 'Cut off after',
  failed: 'Failed after',
}

function headLines(pull: ShownPull, recorded: number, nowMs: number, look: Look): string[] {
  const beganMs = Date.parse(pull.began)
  const endedMs = pull.ended === undefined ? nowMs : Date.parse(pull.ended)
  const took = durationText(endedMs - beganMs)
  const ago = pull.ended === undefined ? '' : `, ${durationText(nowMs - endedMs)} ago`
  const others = recorded > 1 ? ` ${counted(recorded - 1, 'other pull')} of it on record.` : ''
  const began = `began ${utcSecondsText(pull.began)}`
  const cause = pull.outcome === 'interrupted' ? ' The client went away, or the node ended.' : ''
  const facts = `${RESULT_WORDS[pull.outcome]} ${took}${ago} (${began}).${others}${cause}`
  return [
    ...wrappedLines(nameOf(pull), '', look).map((line) => painted(line, 'bold', look)),
    ...wrappedLines(facts, '  ', look),
    ...(pull.digest === undefined ? [] : wrappedLines(pull.digest, '  ', look)),
    ...wrappedLines(`${pull.id} (pullId in the log)`, '  pull id ', look),
  ]
}

const RIGHT = { align: 'right' as const }

function sourceLines(pull: ShownPull, look: Look): string[] {
  const total = allBytes(pull.bytes)
  const rows = SOURCES.filter((source) => pull.bytes[source] > 0 || pull.waits[source] !== undefined).map(
    (source): Cell[] => [
      `  ${SOURCE_WORDS[source]}`,
      byteSize(pull.bytes[source]),
      shareText(pull.bytes[source], total),
      ...waitCells(pull.waits[source]),
    ],
  )
  if (rows.length === 0) return ['No byte of it came through this node.']
  const columns = [
    { title: '  FROM', isFlexible: true },
    ...['BYTES', 'SHARE', 'CHUNKS', 'WAITED', 'P50', 'P99'].map((title) => ({ title, ...RIGHT })),
  ]
  return [painted('By source', 'bold', look), ...tableLines(columns, rows, look), ...noteLines(pull, look)]
}

function noteLines(pull: ShownPull, look: Look): string[] {
  const sources = SOURCES.filter((source) => pull.bytes[source] > 0 && pull.waits[source] === undefined)
  const text =
    sources.length > 0 && sources.length === SOURCES.filter((source) => pull.bytes[source] > 0).length
      ? 'A former version of Shoal recorded this pull, without times.'
      : 'WAITED is how long the client waited for chunks (at most 256 KiB each) of that source; layers wait side by side. direct: the registry served the request itself.'
  return wrappedLines(text, '  ', look).map((line) => painted(line, 'dim', look))
}

function waitCells(waits: ShownPull['waits']['peers']): string[] {
  if (waits === undefined) return ['-', '-', '-', '-']
  return [String(waits.chunks), durationText(waits.ms), durationText(waits.p50Ms), durationText(waits.p99Ms)]
}

function layerLines({ layers }: ShownPull, look: Look): string[] {
  const shown = layers.slice(0, LAYERS_SHOWN_MAX)
  const more = layers.length - shown.length
  const columns = [
    { title: '  LAYER', isFlexible: true },
    ...['SIZE', 'TOOK'].map((title) => ({ title, ...RIGHT })),
    { title: 'FROM' },
    ...['BYTES', 'WAITED', 'P50', 'P99'].map((title) => ({ title, ...RIGHT })),
  ]
  return [
    painted('By layer', 'bold', look),
    ...tableLines(columns, shown.flatMap(rowsOfLayer), look),
    ...(more > 0 ? [`  and ${more} more (--json has them)`] : []),
  ]
}

/** In place of the time of a layer that is not whole. */
const NOT_DONE: Record<Exclude<ShownLayer['outcome'], 'done'>, Cell> = {
  running: 'runs',
  interrupted: { text: 'cut off', style: 'yellow' },
  failed: { text: 'failed', style: 'red' },
}

function tookText({ began, ended = began }: ShownLayer): string {
  return durationText(Date.parse(ended) - Date.parse(began))
}

/** One row for each source that it had. */
function rowsOfLayer(layer: ShownLayer): Cell[][] {
  const took = layer.outcome === 'done' ? tookText(layer) : NOT_DONE[layer.outcome]
  const bytes = sizeOf(layer)
  const size = bytes === undefined ? '?' : byteSize(bytes)
  const head: Cell[] = [`  ${shortDigest(layer.digest)}`, size, took]
  const sources = SOURCES.filter((source) => layer.bytes[source] > 0)
  if (sources.length === 0) return [[...head, '-', '-', '-', '-', '-']]
  return sources.map((source, index) => {
    const [, waited = '-', p50 = '-', p99 = '-'] = waitCells(layer.waits[source])
    const own = [SOURCE_WORDS[source], byteSize(layer.bytes[source]), waited, p50, p99]
    return [...(index === 0 ? head : ['', '', '']), ...own]
  })
}

function reasonLines({ reasons, layers }: ShownPull, look: Look): string[] {
  if (reasons.length === 0) return ['The registry did not have to step in.']
  const lines = reasons.flatMap((code) => {
    const { text, remedy } = reasonWords(code)
    const of = layers.filter((layer) => layer.reasons.includes(code)).length
    return [
      `  ${painted(plainText(code), 'bold', look)} (${counted(of, 'layer')})`,
      ...wrappedLines(text, '    ', look),
      ...(remedy === undefined ? [] : wrappedLines(remedy, '    do: ', look)),
    ]
  })
  return [painted('Why the registry stepped in', 'bold', look), ...lines]
}
