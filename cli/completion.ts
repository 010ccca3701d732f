import { type Command, command, type Flag } from '../core/command.ts'
import { settings } from '../core/config.ts'
import type { ConfigKey } from '../core/config-keys.ts'
import { UsageError } from '../core/errors.ts'
import { nearestName } from '../core/nearest-name.ts'
import { type Entry, type Placed, placedIn } from './command-tree.ts'
import { type CompletionFlag, type CompletionPlace, SCRIPTS } from './completion-scripts.ts'

/** `shoal completion`: what each place of the tree offers, as the script of a shell. */

/** Longer descriptions do not fit beside the names. */
const DESCRIPTION_CHARS_MAX = 80
const HELP: CompletionFlag = { name: '--help', description: 'Explains the command.', value: 'none' }

export function completionCommand(root: Entry): Command {
  return command({
    positionals: ['shell'],
    flags: {},
    async run(_values, [shell = '']) {
      const script = Object.hasOwn(SCRIPTS, shell) ? SCRIPTS[shell] : undefined
      if (script === undefined) {
        const shells = Object.keys(SCRIPTS)
        const nearest = nearestName(shell, shells)
        throw new UsageError(`there is no completion for ${JSON.stringify(shell.slice(0, 80))}`, {
          hint: nearest === undefined ? `There is: ${shells.join(', ')}.` : `Did you mean ${nearest}?`,
        })
      }
      return script(await Promise.all(placedIn(root).map(placeOf)))
    },
  })
}

/** By shell. */
export async function completionScripts(root: Entry): Promise<Record<string, string>> {
  const places = await Promise.all(placedIn(root).map(placeOf))
  return Object.fromEntries(Object.entries(SCRIPTS).map(([shell, script]) => [shell, script(places)]))
}

async function placeOf({ entry, path }: Placed): Promise<CompletionPlace> {
  const [program, found] = await Promise.all([entry.program?.(), entry.command?.()])
  const own = [
    ...(program === undefined ? [] : settings(entry.name, program.schema).map(flagOfSetting)),
    ...Object.entries(found?.flags ?? {}).map(flagOfCommand),
  ]
  const children = (entry.children ?? []).map(({ name, summary }) => ({ name, description: short(summary) }))
  const isOfFiles = found?.positionals.some((name) => name.startsWith('file')) ?? false
  const shells = path[1] === 'completion' ? Object.keys(SCRIPTS) : []
  const words = [...children, ...shells.map((name) => ({ name, description: `The script of ${name}.` }))]
  return { path, children: words, flags: [...own, HELP], isOfFiles }
}

/** Settings that name files or folders end in `File` or `Dir`. */
function flagOfSetting({ key, flag, kind, choices, description }: ConfigKey): CompletionFlag {
  const text = /(File|Dir)$/.test(key) ? 'path' : 'text'
  const value = kind === 'boolean' ? 'none' : (choices ?? text)
  return { name: flag, description: short(description), value }
}

function flagOfCommand([name, { type, value, description }]: [string, Flag]): CompletionFlag {
  const text = value === 'file' || value === 'folder' ? 'path' : 'text'
  return { name: `--${name}`, description: short(description), value: type === 'boolean' ? 'none' : text }
}

/** The first sentence, cut where it is too long. */
function short(text: string): string {
  const sentence = /^.*?(?=[.;:] |\.$|$)/.exec(text.replaceAll('\n', ' '))?.[0] ?? ''
  return sentence.length <= DESCRIPTION_CHARS_MAX
    ? sentence
    : `${sentence.slice(0, DESCRIPTION_CHARS_MAX - 1)}…`
}
