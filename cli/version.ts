import { command } from '../core/command.ts'
import { shoalVersion } from '../core/version.ts'

export const versionCommand = command({
  positionals: [],
  flags: {},
  async run() {
    return `shoal ${shoalVersion()}\n`
  },
})
