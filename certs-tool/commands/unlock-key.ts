import { command } from '../command.ts'
import { writeNewFiles } from '../key-files.ts'
import { newUnlockKey } from '../secrets.ts'

export const unlockKeyCommand = command({
  name: 'unlock-key',
  summary:
    "Makes the key that unseals a tracker's secrets. Keep a copy: without it nobody can open the tracker's data.",
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
