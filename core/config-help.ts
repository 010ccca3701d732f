import { settings } from './config.ts'
import type { ConfigSchema } from './config-keys.ts'

export interface ConfigPage {
  program: string
  schema: ConfigSchema
  /** One sentence that says what the program does. */
  summary: string
  /** Whether a running program takes a setting over when it reads them again; absent: it reads them once. */
  isLive?: Readonly<Record<string, boolean>>
}

/** A program's section of docs/config.md. */
export function configMarkdown({ program, schema, summary, isLive }: ConfigPage): string {
  const rows = settings(program, schema).map((key) => {
    const fallback = key.isRequired
      ? '**required**'
      : key.defaultText === undefined
        ? ''
        : `\`${key.defaultText}\`${key.defaultSize === undefined ? '' : ` (${key.defaultSize})`}`
    const counts = isLive === undefined ? '' : ` ${isLive[key.key] ? 'reload' : 'restart'} |`
    return `| \`${key.key}\` | \`${key.flag}\` | \`${key.environment}\` | ${fallback} |${counts} ${cell(key.description)} |`
  })
  const columns = [
    'file key',
    'flag',
    'environment',
    'default',
    ...(isLive ? ['counts after'] : []),
    'meaning',
  ]
  const head = `| ${columns.join(' | ')} |\n${'|---'.repeat(columns.length)}|`
  return `## shoal ${program}\n\n${summary}\n\n${head}\n${rows.join('\n')}\n`
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ')
}
