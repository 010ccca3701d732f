import { ATTACHED_DIR } from '../core/attached-files.ts'
import { command } from '../core/command.ts'
import { ShoalError } from '../core/errors.ts'
import { guardLine } from '../core/guard-line.ts'
import { Relay } from './relay.ts'
import { relayRules } from './rules.ts'

/** The relay was started by hand. */
export class RelayError extends ShoalError {
  readonly code = 'RELAY'
}

export const relayCommand = command({
  positionals: [],
  flags: {
    'rules-file': {
      type: 'string',
      value: 'file',
      description:
        "JSON with upstreamProxy, noProxy, permitLinkLocal, permittedTargets and deniedPorts, as in the node's settings.",
    },
    'attached-dir': {
      type: 'string',
      value: 'folder',
      description:
        "Where `shoal attach` leaves the upstream proxy, as in the node's settings; `none` reads none.",
      default: ATTACHED_DIR,
    },
  },
  async run(values) {
    const line = guardLine(process.env)
    if (line === undefined) {
      throw new RelayError('the relay has no socket', { hint: '`shoal guard run` starts it with one.' })
    }
    const warn = (text: string) => process.stderr.write(`shoal relay: ${text}\n`)
    const { 'rules-file': path, 'attached-dir': attachedDir } = values
    const { policy, ignored } = relayRules({
      path,
      attachedDir: attachedDir === 'none' ? '' : attachedDir,
      env: process.env,
    })
    for (const reason of ignored) warn(`a file of rules is ignored: ${reason}`)
    const relay = new Relay({ policy, proxy: line.socket('proxy'), mirror: line.socket('mirror'), warn })
    const told = new Promise<void>((resolve) => {
      process.on('SIGTERM', resolve).on('SIGINT', resolve)
      line.onGone(resolve)
    })
    await relay.listen()
    // Nobody may be reading (journald was restarted): an error about that is not to be written there in turn, for ever.
    process.stderr.on('error', () => undefined)
    // What a single connection does wrong must not end the others.
    process.removeAllListeners('uncaughtException').removeAllListeners('unhandledRejection')
    process.on('uncaughtException', (error) => warn(`unexpected error: ${error.message}`))
    line.say('ready')
    await told
    await relay.drain()
    line.close()
    return ''
  },
})
