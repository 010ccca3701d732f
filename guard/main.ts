import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ATTACHED_DIR } from '../core/attached-files.ts'
import { command } from '../core/command.ts'
import { collectWhenIdle } from '../core/idle-memory.ts'
import { parseAddressText } from '../core/network.ts'
import { plainJson } from '../core/plain-text.ts'
import { CONTROL_FLAG, type ControlWord, callGuard } from './control.ts'
import { Guard } from './guard.ts'
import {
  GuardBusyError,
  GuardError,
  letCallersWait,
  type OwnedSocket,
  ownSocket,
  passedSockets,
} from './sockets.ts'

const PROGRAM = fileURLToPath(new URL('../bin/shoal.js', import.meta.url))
/** How long `stop` waits for the node to finish what it serves. */
const STOP_PATIENCE_MS = 60_000
/** How often `stop` asks the guard meanwhile. */
const STOP_LOOK_MS = 200

type SocketName = 'proxy' | 'mirror'

export const guardRunCommand = command({
  positionals: ['node arguments…'],
  flags: {
    'proxy-listen': {
      type: 'string',
      value: 'host:port',
      description:
        "Loopback address for the runtimes' proxy. Ignored when the service manager passes the socket.",
      default: '127.0.0.1:7070',
    },
    'mirror-listen': {
      type: 'string',
      value: 'host:port',
      description:
        'Loopback address for the mirror. Without it, the node itself opens those of its mirrorListen. Ignored when the service manager passes sockets.',
    },
    control: CONTROL_FLAG,
    'rules-file': {
      type: 'string',
      value: 'file',
      description:
        'What the relay may connect to, and through which upstream proxy. Only root should be able to write it.',
    },
    'attached-dir': {
      type: 'string',
      value: 'folder',
      description:
        'Where the relay finds the upstream proxy that `shoal attach` took over; `none` for nowhere.',
      default: ATTACHED_DIR,
    },
    'relay-only': { type: 'boolean', description: 'Start without the node: `shoal guard start` starts it.' },
  },
  async run(values, nodeArguments) {
    const passed = passedSockets(process.env, process.pid)
    const sockets = passed.length > 0 ? passed : ownSockets(values)
    const rules = values['rules-file'] === undefined ? [] : ['--rules-file', values['rules-file']]
    const attached = ['--attached-dir', values['attached-dir']]
    const say = (text: string) => process.stderr.write(`shoal guard: ${text}\n`)
    const guard = new Guard({
      sockets,
      program: PROGRAM,
      argv: { node: ['node', ...nodeArguments], relay: ['relay', ...attached, ...rules] },
      control: values.control,
      env: process.env,
      isNodeWanted: !values['relay-only'],
      say,
    })
    const end = () => guard.end()
    process.on('SIGTERM', end).on('SIGINT', end)
    process.on('SIGHUP', () => guard.reload())
    await guard.listen()
    // Nobody may be reading (journald was restarted): an error about that is not to be written there in turn, for ever.
    process.stderr.on('error', () => undefined)
    // The sockets go with this process: whatever fails in it from now on must not end it.
    process.removeAllListeners('uncaughtException').removeAllListeners('unhandledRejection')
    const note = (error: unknown) => say(`unexpected error: ${(error as Error)?.message}`)
    process.on('uncaughtException', note).on('unhandledRejection', note)
    collectWhenIdle()
    await guard.run()
    return ''
  },
})

export const guardStartCommand = command({
  positionals: [],
  flags: { control: CONTROL_FLAG },
  async run({ control }) {
    await callGuard(control, 'start')
    return 'the node starts\n'
  },
})

export const guardStopCommand = command({
  positionals: [],
  flags: { control: CONTROL_FLAG },
  async run({ control }) {
    const untilMs = performance.now() + STOP_PATIENCE_MS
    let word: ControlWord = 'stop'
    while ((await callGuard(control, word)).node !== 'off') {
      if (performance.now() > untilMs)
        throw new GuardBusyError('the node is still finishing what it serves', {
          hint: '`shoal guard status` says when it has ended.',
        })
      await wait(STOP_LOOK_MS)
      word = 'status'
    }
    return 'the node has stopped; the relay answers\n'
  },
})

export const guardStatusCommand = command({
  positionals: [],
  flags: { control: CONTROL_FLAG },
  async run({ control }) {
    return `${plainJson(await callGuard(control, 'status'))}\n`
  },
})

function ownSockets(flags: Record<`${SocketName}-listen`, string | undefined>): OwnedSocket[] {
  const sockets = (['proxy', 'mirror'] as const).flatMap((name) => {
    const text = flags[`${name}-listen`]
    return text === undefined ? [] : [ownSocket(name, addressOf(name, text))]
  })
  letCallersWait(sockets)
  return sockets
}

function addressOf(socket: SocketName, text: string): { host: string; port: number } {
  const address = parseAddressText(text)
  if (address !== undefined) return address
  throw new GuardError(`--${socket}-listen: expected host:port, as 127.0.0.1:7070, got ${text.slice(0, 80)}`)
}
