import { command } from '../../core/command.ts'
import { ask } from '../admin-client.ts'
import { ADMIN_FLAGS, adminAccess, readSecret } from '../admin-flags.ts'

export const resealCommand = command({
  positionals: [],
  flags: {
    ...ADMIN_FLAGS,
    'unlock-key-file': {
      type: 'string',
      value: 'file',
      default: 'unlock.key',
      description: 'The current unlock key; - is standard input.',
    },
    'new-unlock-key-file': {
      type: 'string',
      value: 'file',
      description:
        'The next unlock key, from `shoal certs unlock-key`; without the flag the current one stays.',
    },
  },
  async run(values) {
    const next = values['new-unlock-key-file']
    const unlockKey = readSecret(values['unlock-key-file'])
    const keys = next === undefined ? { unlockKey } : { unlockKey, newUnlockKey: readSecret(next) }
    const { sealed } = await ask(adminAccess(values), 'keys.reseal', keys)
    const line = `sealed anew: ${sealed} secrets\n`
    return next === undefined
      ? line
      : `${line}${next}  shoal tracker --unlock-key-file, from the next start on\n`
  },
})
