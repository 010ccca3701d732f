import { settings } from './config.ts'
import type { ConfigSchema } from './config-keys.ts'

export interface ConfigPage {
  program: string
  schema: ConfigSchema
  /** One sentence that says what the program does. */
  summary: string
}

/** A program's section of docs/config.md. */
export function configMarkdown({ program, schema, summary }: ConfigPage): string {
  const rows = settings(program, schema).map((key) => {
    const fallback = key.isRequired
      ? '**required**'
      : key.defaultText === undefined
        ? ''
        : `\`${key.defaultText}\`${key.defaultSize === undefined ? '' : ` (${key.defaultSize})`}`
    return `| \`${key.key}\` | \`${key.flag}\` | \`${key.environment}\` | ${fallback} | ${cell(key.description)} |`
  })
  const head = '| file key | flag | environment | default | meaning |\n|---|---|---|---|---|'
  return `## shoal ${program}\n\n${summary}\n\n${head}\n${rows.join('\n')}\n`
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ')
}
