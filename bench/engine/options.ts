import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { UsageError } from '../../core/errors.ts'
import { isState, isSystemName, STATES, type State, SYSTEM_NAMES, type SystemName } from './report.ts'
import { OTHERS_CORES_MAX, RERUNS_MAX } from './reruns.ts'

export interface BenchOptions {
  isJson: boolean
  isHelp: boolean
  isQuick: boolean
  /** Shoal's nodes also read the blob through their client, as the proxy does. */
  isRead: boolean
  systems: SystemName[]
  states: State[]
  downloaders: number[]
  /** Sizes of the blobs. */
  mibs: number[]
  /** Existing folder; files go below it and are removed at the end. */
  folder: string
  /** Time may end them earlier. */
  roundsMax: number
  /** No group begins that would end later than this after the start. */
  budgetSeconds: number
}

const FULL = { minutes: 60, rounds: 3, mibs: [256], downloaders: [1, 4, 8] }
/** Leaves room below the promised 60 s for set-up on a slow machine. */
const QUICK = { minutes: 0.75, rounds: 3, mibs: [256], downloaders: [1] }
const QUICK_SYSTEMS: SystemName[] = ['shoal', 'pump', 'libtorrent-ssl']
const DOWNLOADERS_MAX = 32
const MIB_MAX = 16 * 1024
const ROUNDS_MAX = 100
const MINUTES_MAX = 24 * 60

export const BENCH_USAGE = `Usage: npm run bench:engine -- [flags]

One holder and one, four and eight downloaders on loopback, system by system in interleaved rounds. In every turn new
processes get a blob (fresh), the same processes get another one (warm), and Shoal's then one that only the registry has
(cold). A turn is run again, at most ${RERUNS_MAX} times, when others used more than ${OTHERS_CORES_MAX} cores of the machine.

  --json                 One JSON document on standard output; progress goes to standard error.
  --quick                ${QUICK_SYSTEMS.join(', ')} at one downloader, within 60 seconds.
  --systems <a,b>        One or more of ${SYSTEM_NAMES.join(', ')}.
                         Default: all but shoal-encrypted, which keeps its cache encrypted (docs/security.md).
  --states <a,b>         One or more of ${STATES.join(', ')}. Default: all.
  --downloaders <1,4,8>  Numbers of simultaneous downloaders. Default: ${FULL.downloaders.join(',')}.
  --mib <256,1024>       Sizes of the blobs. Default: ${FULL.mibs.join(',')}.
  --rounds <number>      Rounds of every size and number of downloaders. Default: ${FULL.rounds}.
  --minutes <number>     No round begins that would end later. Default: ${FULL.minutes}.
  --folder <path>        Folder for files. Default: the system's folder for temporary files.
  --read                 Shoal's nodes also read every byte through their client while it arrives.
  --help                 Prints this text.
`

/** @throws UsageError */
export function parseBenchOptions(argv: string[]): BenchOptions {
  const values = parsed(argv)
  const isQuick = values.quick ?? false
  const defaults = isQuick ? QUICK : FULL
  const number = (flag: 'rounds' | 'minutes', max: number) =>
    values[flag] === undefined ? defaults[flag] : wholeNumber(values[flag], `--${flag}`, max)
  const numbers = (flag: 'downloaders' | 'mib', max: number) =>
    values[flag] === undefined ? undefined : numbersOf(values[flag], `--${flag}`, max)
  return {
    isJson: values.json ?? false,
    isHelp: values.help ?? false,
    isQuick,
    isRead: values.read ?? false,
    systems: values.systems === undefined ? defaultSystems(isQuick) : systemsOf(values.systems),
    states: values.states === undefined ? [...STATES] : statesOf(values.states),
    downloaders: numbers('downloaders', DOWNLOADERS_MAX) ?? defaults.downloaders,
    mibs: numbers('mib', MIB_MAX) ?? defaults.mibs,
    folder: values.folder ?? tmpdir(),
    roundsMax: number('rounds', ROUNDS_MAX),
    budgetSeconds: number('minutes', MINUTES_MAX) * 60,
  }
}

function defaultSystems(isQuick: boolean): SystemName[] {
  return isQuick ? QUICK_SYSTEMS : SYSTEM_NAMES.filter((name) => name !== 'shoal-encrypted')
}

function parsed(argv: string[]) {
  try {
    const flag = { type: 'boolean' } as const
    const text = { type: 'string' } as const
    const options = {
      ...{ json: flag, quick: flag, read: flag, help: flag },
      ...{ systems: text, states: text, downloaders: text, mib: text },
      ...{ rounds: text, minutes: text, folder: text },
    }
    return parseArgs({ args: argv, options }).values
  } catch (cause) {
    throw usageError((cause as Error).message, cause)
  }
}

function systemsOf(text: string): SystemName[] {
  return namesOf(text, isSystemName, (unknown) => `--systems: unknown system ${unknown}`)
}

/** In the order in which they are run. */
function statesOf(text: string): State[] {
  const wanted = namesOf(text, isState, (unknown) => `--states: unknown state ${unknown}`)
  return STATES.filter((state) => wanted.includes(state))
}

function namesOf<Name extends string>(
  text: string,
  isName: (text: string) => text is Name,
  complaint: (unknown: string) => string,
): Name[] {
  const names = [...new Set(text.split(','))]
  const unknown = names.find((name) => !isName(name))
  if (unknown !== undefined) throw usageError(complaint(unknown.slice(0, 40)))
  return names.filter(isName)
}

function numbersOf(text: string, flag: string, max: number): number[] {
  const numbers = text.split(',').map((number) => wholeNumber(number, flag, max))
  return [...new Set(numbers)].sort((a, b) => a - b)
}

function wholeNumber(text: string, flag: string, max: number): number {
  const value = Number(text)
  if (/^\d{1,6}$/.test(text) && value >= 1 && value <= max) return value
  throw usageError(`${flag} takes whole numbers from 1 to ${max}, not ${text.slice(0, 40)}`)
}

function usageError(message: string, cause?: unknown): UsageError {
  return new UsageError(message, { cause, hint: 'npm run bench:engine -- --help lists the flags.' })
}
