import { isIP } from 'node:net'
import { command } from '../core/command.ts'
import { UsageError } from '../core/errors.ts'
import { parseAddressText } from '../core/network.ts'
import { OwnersService } from './service.ts'

/** The only descriptor that the service manager passes on (sd_listen_fds(3), SD_LISTEN_FDS_START). */
const PASSED_DESCRIPTOR = 3

export const ownersCommand = command({
  positionals: [],
  flags: {
    'proxy-listen': {
      type: 'string',
      value: 'host:port',
      description: 'Where the proxy of this machine listens; of other connections nothing is said.',
      default: '127.0.0.1:7070',
    },
  },
  async run(values) {
    const { LISTEN_FDS, LISTEN_PID } = process.env
    if (LISTEN_FDS !== '1' || Number(LISTEN_PID) !== process.pid) {
      throw new UsageError('the service manager passed no socket to answer on', {
        hint: 'shoal-owners.socket starts it.',
      })
    }
    const proxy = parseAddressText(values['proxy-listen'])
    if (proxy === undefined || isIP(proxy.host) === 0) {
      throw new UsageError('--proxy-listen: expected address:port, as 127.0.0.1:7070')
    }
    await new OwnersService({ descriptor: PASSED_DESCRIPTOR, proxy }).ended
    return ''
  },
})
