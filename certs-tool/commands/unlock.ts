import { command } from '../../core/command.ts'
import { unlock } from '../admin-client.ts'
import { DATA_DIR_FLAG, readSecret, TRACKER_DATA_DIR } from '../admin-flags.ts'

export const unlockCommand = command({
  positionals: [],
  flags: {
    'data-dir': {
      ...DATA_DIR_FLAG,
      default: TRACKER_DATA_DIR,
      description: "The tracker's data folder.",
    },
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
