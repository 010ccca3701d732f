import { readFileSync } from 'node:fs'
import { command } from '../core/command.ts'

export const versionCommand = command({
  positionals: [],
  flags: {},
  async run() {
    const manifest = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
    return `shoal ${(JSON.parse(manifest) as { version: string }).version}\n`
  },
})
