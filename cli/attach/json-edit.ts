import { isDeepStrictEqual } from 'node:util'
import {
  applyEdits,
  findNodeAtLocation,
  type JSONPath,
  modify,
  type ParseError,
  parse,
  parseTree,
  printParseErrorCode,
} from 'jsonc-parser'
import { AttachFileError } from './errors.ts'

/** Changes of single values in a JSON file, which keep everything else of it: comments, order, spaces. */

export type JsonChange =
  | {
      path: string[]
      /** Absent: the key was not there. */
      before?: unknown
      after: unknown
      /** The object around it was not there. */
      isParentNew?: boolean
    }
  /** One more item at the start of a list. */
  | { path: string[]; item: unknown; isListNew?: boolean }

const BYTE_ORDER_MARK = '\uFEFF'

/** @throws AttachFileError when the text is no JSON object */
export function parseJsonObject(path: string, text: string): Record<string, unknown> {
  const body = text.replace(BYTE_ORDER_MARK, '')
  if (body.trim() === '') return {}
  const errors: ParseError[] = []
  const value: unknown = parse(body, errors, { allowTrailingComma: true })
  const [first] = errors
  if (first === undefined && isObject(value)) return value
  const line = body.slice(0, first?.offset ?? 0).split('\n').length
  const why = first === undefined ? 'not an object' : printParseErrorCode(first.error)
  throw new AttachFileError(`${path} is malformed in line ${line}: ${why}`, {
    hint: 'Correct the file, then run the command again. Nothing was changed.',
  })
}

export function changeJson(text: string, changes: JsonChange[]): string {
  return changes.reduce((all, change) => {
    if ('item' in change && change.isListNew) return set(all, change.path, [change.item])
    if ('item' in change) return set(all, [...change.path, 0], change.item, true)
    return set(all, change.path, change.after)
  }, text)
}

/** @returns undefined when the values are not ours any more, or the text is no JSON */
export function takeBackJson(text: string, changes: JsonChange[]): string | undefined {
  let taken = text
  for (const change of changes.toReversed()) {
    const errors: ParseError[] = []
    const root: unknown = parse(taken.replace(BYTE_ORDER_MARK, ''), errors, { allowTrailingComma: true })
    if (errors.length > 0 || !isObject(root)) return undefined
    const back = 'item' in change ? withoutItem(taken, root, change) : withBefore(taken, root, change)
    if (back === undefined) return undefined
    taken = back
  }
  return taken
}

type ItemChange = Extract<JsonChange, { item: unknown }>
type ValueChange = Exclude<JsonChange, { item: unknown }>

function withoutItem(text: string, root: object, { path, item, isListNew }: ItemChange): string | undefined {
  const list = valueAt(root, path)
  if (!Array.isArray(list)) return list === undefined ? text : undefined
  const index = list.findIndex((one) => isDeepStrictEqual(one, item))
  if (index < 0) return text
  return isListNew && list.length === 1 ? set(text, path, undefined) : set(text, [...path, index], undefined)
}

function withBefore(text: string, root: object, change: ValueChange): string | undefined {
  const { path, before, after, isParentNew } = change
  const value = valueAt(root, path)
  if (isDeepStrictEqual(value, before)) return text
  if (!isDeepStrictEqual(value, after)) return undefined
  const parent = valueAt(root, path.slice(0, -1)) as object
  if (isParentNew && Object.keys(parent).length === 1) return set(text, path.slice(0, -1), undefined)
  return set(text, path, before)
}

export function valueAt(root: unknown, path: string[]): unknown {
  return path.reduce<unknown>((at, key) => (isObject(at) ? at[key] : undefined), root)
}

function set(text: string, path: JSONPath, value: unknown, isArrayInsertion = false): string {
  const mark = text.startsWith(BYTE_ORDER_MARK) ? BYTE_ORDER_MARK : ''
  const body = text.slice(mark.length)
  if (body.trim() === '') {
    const formattingOptions = { insertSpaces: true, tabSize: 2 }
    return `${mark}${applyEdits('', modify('', path, value, { formattingOptions }))}\n`
  }
  // Asked to format, the library would format what stands beside it too.
  const edits = modify(body, path, value, { isArrayInsertion }).map((edit) => {
    const isAdded = edit.length === 0 && edit.content.startsWith(',')
    return isAdded ? { ...edit, content: `,${lineBreak(body, path)}${edit.content.slice(1)}` } : edit
  })
  return mark + applyEdits(body, edits)
}

/** Before one more key of an object: a new line where its other keys have lines of their own. */
function lineBreak(body: string, path: JSONPath): string {
  const root = parseTree(body)
  const around = path.map((_, index) => root && findNodeAtLocation(root, path.slice(0, index)))
  const node = around.findLast((one) => one !== undefined)
  const first = node?.type === 'object' ? node.children?.[0] : undefined
  if (first === undefined) return ''
  return /\r?\n[ \t]*$/.exec(body.slice(0, first.offset))?.[0] ?? ''
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
