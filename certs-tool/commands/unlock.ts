import { unlock } from '../admin-client.ts'
import { DATA_DIR_FLAG, readSecret } from '../admin-flags.ts'
import { command } from '../command.ts'

export const unlockCommand = command({
  name: 'unlock',
  summary: 'Gives its unlock key to a tracker that was started without it, on the tracker’s own machine.',
  positionals: [],
  flags: {
    'data-dir': { ...DATA_DIR_FLAG, description: "The tracker's data folder." },
    'unlock-key-file': {
      type: 'string',
      value: 'file',
      default: '-',
      description: 'The unlock key; - is standard input.',
    },
  },
  async run(values) {
    await unlock(values['data-dir'], readSecret(values['unlock-key-file']))
    return 'the tracker is unlocked\n'
  },
})
