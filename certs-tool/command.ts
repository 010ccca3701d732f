import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'
import { UsageError } from '../core/errors.ts'
import { nearestName } from '../core/nearest-name.ts'

/** A flag of a command. Every flag except a boolean takes a value. */
export interface Flag {
  type: 'string' | 'boolean'
  /** May be given more than once. */
  multiple?: boolean
  /** Placeholder of the value in the help. */
  value?: string
  description: string
  default?: string
}

export type Flags = Record<string, Flag>

export type FlagValues<F extends Flags> = {
  [Name in keyof F]: F[Name]['type'] extends 'boolean'
    ? boolean
    : F[Name] extends { multiple: true }
      ? string[]
      : F[Name] extends { default: string }
        ? string
        : string | undefined
}

/** One command of `shoal certs`. Its result is text for standard output; failures are thrown as ShoalErrors. */
export interface Command<F extends Flags = Flags> {
  name: string
  summary: string
  /** Names of the required arguments that are not flags; the last may end in `…` for one or more. */
  positionals: string[]
  flags: F
  run(values: FlagValues<F>, positionals: string[]): Promise<string>
}

/** Derives the type of the values from the flags. */
export function command<const F extends Flags>(definition: Command<F>): Command {
  return definition as unknown as Command
}

/** @throws UsageError if the arguments do not fit; and all errors of the command */
export async function runCommand(found: Command, argv: string[]): Promise<string> {
  if (argv.includes('--help')) return commandHelp(found)
  const { values, positionals } = parsed(found, argv)
  const isOpenEnded = found.positionals.at(-1)?.endsWith('…') ?? false
  const isEnough = positionals.length >= found.positionals.length
  if (!isEnough || (!isOpenEnded && positionals.length > found.positionals.length)) {
    throw new UsageError(
      isEnough
        ? `unexpected argument: ${positionals.at(-1)}`
        : `missing <${found.positionals[positionals.length]}>`,
      { hint: usageLine(found) },
    )
  }
  return found.run(values, positionals)
}

function parsed(found: Command, argv: string[]): { values: FlagValues<Flags>; positionals: string[] } {
  try {
    const { values, positionals } = parseArgs({
      args: argv,
      options: parseOptions(found),
      allowPositionals: true,
    })
    const given = values as Record<string, string | boolean | (string | boolean)[] | undefined>
    const complete = Object.entries(found.flags).map(([name, flag]) => [name, given[name] ?? absent(flag)])
    return { values: Object.fromEntries(complete), positionals }
  } catch (cause) {
    const unknown = /Unknown option '(--?[^' ]+)/.exec((cause as Error).message)?.[1]
    if (unknown === undefined)
      throw new UsageError((cause as Error).message, { cause, hint: usageLine(found) })
    const nearest = nearestName(
      unknown,
      Object.keys(found.flags).map((name) => `--${name}`),
    )
    throw new UsageError(`unknown flag: ${unknown}`, {
      cause,
      hint: nearest === undefined ? `See shoal certs ${found.name} --help.` : `Did you mean ${nearest}?`,
    })
  }
}

function parseOptions(found: Command): ParseArgsOptionsConfig {
  const options = Object.entries(found.flags).map(([name, { type, multiple }]) => [
    name,
    { type, multiple: multiple ?? false },
  ])
  return Object.fromEntries(options)
}

function absent(flag: Flag): string | boolean | string[] | undefined {
  if (flag.type === 'boolean') return false
  return flag.multiple ? [] : flag.default
}

function usageLine(found: Command): string {
  const positionals = found.positionals.map((name) => ` <${name}>`).join('')
  return `Usage: shoal certs ${found.name}${positionals} [flags]`
}

function commandHelp(found: Command): string {
  const flags = Object.entries(found.flags).map(([name, flag]) => {
    const value = flag.type === 'boolean' ? '' : ` <${flag.value ?? 'text'}>`
    const fallback = flag.default === undefined ? '' : ` Default: ${flag.default}`
    return `  --${name}${value}\n      ${flag.description}${fallback}`
  })
  return `${found.summary}\n\n${usageLine(found)}\n\n${flags.join('\n')}\n`
}
