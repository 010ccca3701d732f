import { isDeepStrictEqual } from 'node:util'

/** Line by line: what differs, and how two changes of one text go together. */

/** Lines of context on both sides of a change. */
const CONTEXT_LINES = 3
/** Bound of the lines that are compared with each other; longer texts are shown as replaced in whole. */
const LINES_MAX = 4000

/** A run of lines `[start, end)` of the old text, and what stands there in the new one. */
interface Hunk {
  start: number
  end: number
  lines: string[]
}

/** In the form of `diff -u`; '' when nothing differs. */
export function unifiedDiff(path: string, before: string | undefined, after: string | undefined): string {
  const old = linesOf(before)
  const hunks = hunksBetween(old, linesOf(after))
  if (hunks.length === 0) return ''
  const name = (text: string | undefined) => (text === undefined ? '/dev/null' : path)
  const groups = hunks.reduce<Hunk[][]>((all, hunk) => {
    const last = all.at(-1)
    if (last !== undefined && hunk.start - last.at(-1)!.end <= 2 * CONTEXT_LINES) last.push(hunk)
    else all.push([hunk])
    return all
  }, [])
  let shift = 0
  const blocks = groups.map((group) => {
    const start = Math.max(0, group[0]!.start - CONTEXT_LINES)
    const end = Math.min(old.length, group.at(-1)!.end + CONTEXT_LINES)
    const grown = group.reduce((sum, hunk) => sum + hunk.lines.length - (hunk.end - hunk.start), 0)
    const head = `@@ -${range(start, end - start)} +${range(start + shift, end - start + grown)} @@`
    shift += grown
    return [head, ...body(old, group, start, end)].join('\n')
  })
  return [`--- ${name(before)}`, `+++ ${name(after)}`, ...blocks, ''].join('\n')
}

function body(old: string[], group: Hunk[], start: number, end: number): string[] {
  const lines: string[] = []
  let at = start
  for (const hunk of group) {
    lines.push(...old.slice(at, hunk.start).map((line) => shown(' ', line)))
    lines.push(...old.slice(hunk.start, hunk.end).map((line) => shown('-', line)))
    lines.push(...hunk.lines.map((line) => shown('+', line)))
    at = hunk.end
  }
  return [...lines, ...old.slice(at, end).map((line) => shown(' ', line))]
}

function shown(sign: string, line: string): string {
  return line.endsWith('\n') ? sign + line.slice(0, -1) : `${sign}${line}\n\\ No newline at end of file`
}

function range(start: number, length: number): string {
  const first = length === 0 ? start : start + 1
  return length === 1 ? String(first) : `${first},${length}`
}

/**
 * `theirs` with the change from `ours` to `base` made in it: a three-way merge.
 * @returns undefined when both changed the same or neighbouring lines
 */
export function mergeTexts({
  ours,
  base,
  theirs,
}: Record<'ours' | 'base' | 'theirs', string>): string | undefined {
  const lines = linesOf(ours)
  const back = hunksBetween(lines, linesOf(base))
  const edits = hunksBetween(lines, linesOf(theirs))
  const isIn = (hunk: Hunk) => edits.some((edit) => isDeepStrictEqual(edit, hunk))
  if (back.every(isIn)) return theirs
  const isNear = (one: Hunk, other: Hunk) => one.start <= other.end && other.start <= one.end
  if (back.some((one) => edits.some((other) => isNear(one, other)))) return undefined
  const merged: string[] = []
  let at = 0
  for (const hunk of [...back, ...edits].sort((one, other) => one.start - other.start)) {
    merged.push(...lines.slice(at, hunk.start), ...hunk.lines)
    at = hunk.end
  }
  return [...merged, ...lines.slice(at)].join('')
}

/** Each with its end of line. */
function linesOf(text = ''): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? []
}

function hunksBetween(old: string[], now: string[]): Hunk[] {
  const [head, tail] = commonEnds(old, now)
  const [a, b] = [old.slice(head, old.length - tail), now.slice(head, now.length - tail)]
  if (a.length === 0 && b.length === 0) return []
  if (a.length > LINES_MAX || b.length > LINES_MAX) return [{ start: head, end: head + a.length, lines: b }]
  return hunksOf(a, b, commonLengths(a, b), head)
}

function commonEnds(old: string[], now: string[]): [number, number] {
  const shorter = Math.min(old.length, now.length)
  let head = 0
  while (head < shorter && old[head] === now[head]) head++
  let tail = 0
  while (tail < shorter - head && old.at(-1 - tail) === now.at(-1 - tail)) tail++
  return [head, tail]
}

/** Lengths of the longest common subsequences of all pairs of ends. */
function commonLengths(a: string[], b: string[]): Uint16Array[] {
  const lengths = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1))
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      const [below, right] = [lengths[i + 1]![j]!, lengths[i]![j + 1]!]
      lengths[i]![j] = a[i] === b[j] ? lengths[i + 1]![j + 1]! + 1 : Math.max(below, right)
    }
  }
  return lengths
}

function hunksOf(a: string[], b: string[], lengths: Uint16Array[], offset: number): Hunk[] {
  const hunks: Hunk[] = []
  let open: Hunk | undefined
  let [i, j] = [0, 0]
  const hunk = () => {
    open ??= hunks[hunks.push({ start: offset + i, end: offset + i, lines: [] }) - 1]!
    return open
  }
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      open = undefined
      i++
      j++
    } else if (j < b.length && (i === a.length || lengths[i]![j + 1]! > lengths[i + 1]![j]!)) {
      hunk().lines.push(b[j++]!)
    } else {
      hunk().end++
      i++
    }
  }
  return hunks
}
