import { z } from 'zod'
import { type AdminAccess, ask } from '../../certs-tool/admin-client.ts'
import { ADMIN_FLAGS, adminAccess, CLUSTER_FLAG } from '../../certs-tool/admin-flags.ts'
import { clusterOf } from '../../certs-tool/commands/join-tokens.ts'
import { type AnsweredFor, type CallName, callOf, type GivenFor } from '../../core/admin-api/calls.ts'
import { type Command, command, type Flag, type FlagValues, type Outside } from '../../core/command.ts'
import { flagName } from '../../core/config-keys.ts'
import { UsageError } from '../../core/errors.ts'
import { plainJson, plainText } from '../../core/plain-text.ts'
import { type Cell, type Column, type Look, lookOf, tableLines, wrappedLines } from '../table.ts'
import { watch } from '../watch.ts'
import { ID_FIELDS, wholeId } from './whole-id.ts'

/**
 * Commands made from the table of calls: arguments and flags come from a call's schemas, and a view says how people see the
 * answer. `cluster` is a flag that takes a name, and may be left out where the tracker has one cluster; what else the path
 * names is an argument.
 */

/** How people see an answer: lines of a page. */
export type View<Name extends CallName> = (
  answer: AnsweredFor<Name>,
  shown: { look: Look; nowMs: number; input: Record<string, unknown> },
) => string[]

interface Options<Name extends CallName> {
  view: View<Name>
  /** Arguments in the place of flags: fields of the query or the body, in this order; the last may end in `…`. */
  positionals?: readonly string[]
  /** Fields that have neither flag nor argument. */
  without?: readonly string[]
  /** Makes input of what was given, where a field is no plain text. */
  read?: (given: Record<string, unknown>) => Record<string, unknown>
}

const JSON_FLAG = { type: 'boolean', description: 'Print the answer as JSON.' } as const
const WATCH_FLAG = { type: 'boolean', description: 'Show it again every second, until Ctrl-C.' } as const

export function callCommand<Name extends CallName>(name: Name, options: Options<Name>): Command {
  const one = callOf(name)
  const inPath = Object.keys(one.params.shape).filter((field) => field !== 'cluster')
  const named = [...inPath, ...(options.positionals ?? [])]
  const taken = [...named.map((field) => field.replace(/…$/, '')), ...(options.without ?? [])]
  const ownFlags = Object.fromEntries(
    [one.query, one.body]
      .flatMap((schema) => flagsOf(schema).filter(([field]) => field !== 'cluster' && !taken.includes(field)))
      .map(([field, flag]) => [flagName(field).slice(2), flag]),
  )
  const fieldOf = new Map(
    [one.query, one.body]
      .flatMap((schema) => Object.keys(schema.shape))
      .map((field) => [flagName(field).slice(2), field]),
  )
  const mayNameCluster = [one.params, one.query, one.body].some(({ shape }) => 'cluster' in shape)
  const isList = one.method === 'GET'
  return command({
    positionals: named,
    flags: {
      ...ADMIN_FLAGS,
      ...(mayNameCluster && { cluster: CLUSTER_FLAG }),
      ...ownFlags,
      ...(isList && { watch: WATCH_FLAG }),
      json: JSON_FLAG,
    },
    async run(all, positionals, outside) {
      const values: Record<string, unknown> = all
      const access = adminAccess(values as FlagValues<typeof ADMIN_FLAGS>)
      const given: Record<string, unknown> = {}
      for (const [flag, value] of Object.entries(values)) {
        const field = fieldOf.get(flag)
        if (field !== undefined && field !== 'cluster' && value !== undefined) given[field] = value
      }
      for (const [at, field] of named.entries()) {
        given[field.replace(/…$/, '')] = field.endsWith('…') ? positionals.slice(at) : positionals[at]
      }
      if (mayNameCluster) {
        const isNeeded = !('cluster' in one.query.shape)
        const cluster = values.cluster as string | undefined
        if (isNeeded || cluster !== undefined) given.cluster = await clusterOf(access, cluster)
      }
      for (const field of ID_FIELDS) {
        const text = given[field]
        if (typeof text === 'string')
          given[field] = await wholeId(access, field, text, given.cluster as string | undefined)
      }
      const input = checkedInput(name, options.read === undefined ? given : options.read(given))
      const page = () =>
        pageOf(access, name, input, { view: options.view, isJson: values.json === true, outside })
      if (values.watch === true) {
        await watch(outside, page)
        return ''
      }
      return `${(await page()).join('\n')}\n`
    },
  })
}

async function pageOf<Name extends CallName>(
  access: AdminAccess,
  name: Name,
  input: Record<string, unknown>,
  { view, isJson, outside }: { view: View<Name>; isJson: boolean; outside: Outside },
): Promise<string[]> {
  const answer = await ask(access, name, input as GivenFor<Name>)
  if (isJson) return [plainJson(answer, 2)]
  const look = lookOf(outside)
  const lines = view(answer, { look, nowMs: Date.now(), input }).flatMap((line) => fitted(line, look))
  const { next } = answer as { next?: string | null }
  return typeof next === 'string' ? [...lines, '', `There is more: --cursor '${plainText(next)}'`] : lines
}

/** Tables fit by themselves; other lines are wrapped. */
function fitted(line: string, look: Look): string[] {
  return line.length <= look.columns || line.includes('\u001b') ? [line] : wrappedLines(line, '', look)
}

/** @throws UsageError before any call, in the words of flags and arguments */
function checkedInput(name: CallName, input: Record<string, unknown>): Record<string, unknown> {
  const { params, query, body } = callOf(name)
  for (const schema of [params, query, body]) {
    const own = Object.fromEntries(Object.entries(input).filter(([field]) => field in schema.shape))
    const issue = schema.safeParse(own).error?.issues[0]
    if (issue === undefined) continue
    const field = String(issue.path[0] ?? '')
    throw new UsageError(`${field}: ${issue.message}`, { hint: 'docs/admin.md has what each call takes.' })
  }
  return input
}

/** What a command line can say: texts, numbers and switches. */
function flagsOf(schema: z.ZodObject): [string, Flag][] {
  const { properties = {} } = z.toJSONSchema(schema, { io: 'input' })
  return Object.entries(properties).map(([field, of]) => {
    const {
      type,
      description = '',
      enum: choices,
    } = of as { type?: string; description?: string; enum?: string[] }
    if (type === 'boolean') return [field, { type, description }]
    const value = choices?.join('|') ?? (type === 'integer' || type === 'number' ? 'number' : 'text')
    return [field, { type: 'string', value, description }]
  })
}

/** A view that is a table; without rows it says so. */
export function tableView<Name extends CallName, Row>(
  columns: readonly Column[],
  rowsOf: (answer: AnsweredFor<Name>) => readonly Row[],
  cellsOf: (row: Row, nowMs: number) => Cell[],
  nothing: string,
): View<Name> {
  return (answer, { look, nowMs }) => {
    const rows = rowsOf(answer).map((row) => cellsOf(row, nowMs))
    return rows.length === 0 ? [nothing] : tableLines(columns, rows, look)
  }
}
