import { command } from '../../core/command.ts'
import { writeNewFiles } from '../key-files.ts'
import { newUnlockKey } from '../secrets.ts'

export const unlockKeyCommand = command({
  positionals: [],
  flags: {
    out: {
      type: 'string',
      value: 'file',
      default: 'unlock.key',
      description: 'File for the key (mode 0600).',
    },
    force: { type: 'boolean', description: 'Replace a file that exists.' },
  },
  async run({ out, force }) {
    writeNewFiles([{ path: out, content: newUnlockKey(), isSecret: true }], force)
    return `${out}  shoal tracker --unlock-key-file\n`
  },
})
