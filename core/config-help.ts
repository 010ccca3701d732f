import { settings } from './config.ts'
import type { ConfigSchema } from './config-keys.ts'

export interface ConfigPage {
  program: string
  schema: ConfigSchema
  /** One sentence that says what the program does. */
  summary: string
}

const WIDTH = 100
const INDENT = '      '

/** The text of `shoal <program> --help`, from the schema's descriptions and defaults. */
export function helpText({ program, schema, summary }: ConfigPage): string {
  const entries = settings(program, schema).map((key) => {
    const value = key.kind === 'boolean' ? '' : ` <${key.choices?.join('|') ?? key.kind}>`
    const note = key.isRequired
      ? ' Required.'
      : key.defaultText === undefined
        ? ''
        : ` Default: ${key.defaultText}`
    return `  ${key.flag}${value}\n${wrapped(`${key.description}${note}`)}`
  })
  const names = `Every flag is also an environment variable (--config-file: SHOAL_${program.toUpperCase()}_CONFIG_FILE) and a key of the JSON config file (logLevel for --log-level). Flags win over the environment, the environment over the file.`
  return `${summary}\n\nUsage: shoal ${program} [flags]\n\n${entries.join('\n')}\n\n${wrapped(names, '')}\n`
}

function wrapped(text: string, indent = INDENT): string {
  const lines: string[] = ['']
  for (const word of text.trim().split(/\s+/)) {
    const last = lines.at(-1)!
    const longer = last === '' ? word : `${last} ${word}`
    if (indent.length + longer.length <= WIDTH) lines[lines.length - 1] = longer
    else lines.push(word)
  }
  return lines.map((line) => indent + line).join('\n')
}

/** A program's section of docs/config.md. */
export function configMarkdown({ program, schema, summary }: ConfigPage): string {
  const rows = settings(program, schema).map((key) => {
    const fallback = key.isRequired
      ? '**required**'
      : key.defaultText === undefined
        ? ''
        : `\`${key.defaultText}\``
    return `| \`${key.key}\` | \`${key.flag}\` | \`${key.environment}\` | ${fallback} | ${cell(key.description)} |`
  })
  const head = '| file key | flag | environment | default | meaning |\n|---|---|---|---|---|'
  return `## shoal ${program}\n\n${summary}\n\n${head}\n${rows.join('\n')}\n`
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ')
}
