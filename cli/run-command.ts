import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'
import type { Command, Flag, Flags, FlagValues, Outside } from '../core/command.ts'
import { UsageError } from '../core/errors.ts'
import { nearestName } from '../core/nearest-name.ts'

/**
 * @param path the command's whole name, for messages
 * @throws UsageError when the arguments do not fit; whatever the command throws
 */
export async function runCommand(
  path: string[],
  found: Command,
  argv: string[],
  outside: Outside,
): Promise<string> {
  const { values, positionals } = parsed(path, found, argv)
  const isOpenEnded = found.positionals.at(-1)?.endsWith('…') ?? false
  const isEnough = positionals.length >= found.positionals.filter((name) => !isOptional(name)).length
  if (!isEnough || (!isOpenEnded && positionals.length > found.positionals.length)) {
    throw new UsageError(
      isEnough
        ? `unexpected argument: ${positionals.at(-1)}`
        : `missing <${found.positionals[positionals.length]}>`,
      { hint: usageLine(path, found) },
    )
  }
  return found.run(values, positionals, outside)
}

/** `[name]` may be left out; such names come last. */
function isOptional(name: string): boolean {
  return name.startsWith('[')
}

/** How a command is called. */
export function usageOf(path: string[], { positionals }: Command): string {
  return `${[...path, ...positionals.map((name) => (isOptional(name) ? name : `<${name}>`))].join(' ')} [flags]`
}

function usageLine(path: string[], found: Command): string {
  return `Usage: ${usageOf(path, found)}`
}

function parsed(
  path: string[],
  found: Command,
  argv: string[],
): { values: FlagValues<Flags>; positionals: string[] } {
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
      throw new UsageError((cause as Error).message, { cause, hint: usageLine(path, found) })
    const nearest = nearestName(
      unknown,
      Object.keys(found.flags).map((name) => `--${name}`),
    )
    throw new UsageError(`unknown flag: ${unknown}`, {
      cause,
      hint: nearest === undefined ? `See ${path.join(' ')} --help.` : `Did you mean ${nearest}?`,
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
