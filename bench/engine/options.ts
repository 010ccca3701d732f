import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { UsageError } from '../../core/errors.ts'
import { isSystemName, SYSTEM_NAMES, type SystemName } from './report.ts'

export interface BenchOptions {
  isJson: boolean
  isHelp: boolean
  isQuick: boolean
  /** Shoal's nodes also read the blob through their client, as the proxy does. */
  isRead: boolean
  systems: SystemName[]
  downloaders: number[]
  /** Size of the blob for one of the counts in `downloaders`, in MiB. */
  mibFor: (downloaders: number) => number
  /** Existing folder; files go below it and are removed at the end. */
  folder: string
  /** Bound on rounds; time may end them earlier. */
  roundsMax: number
  /** No group begins that would end later than this after the start. */
  budgetSeconds: number
}

const FULL = { budgetSeconds: 570, roundsMax: 9 }
/** Leaves room below the promised 60 s for set-up on a slow machine. */
const QUICK = { budgetSeconds: 45, roundsMax: 5, mib: 512 }
const QUICK_SYSTEMS: SystemName[] = ['shoal', 'libtorrent-ssl']
const DOWNLOADERS = [1, 4, 8]
const DOWNLOADERS_MAX = 32
const MIB_MAX = 16 * 1024
/**
 * 1 GiB to each of eight downloaders takes the slower systems a minute, and only one round would fit into the time.
 * Half of it leaves room for medians.
 */
const MIB_ALONE = 1024
const MIB_TOGETHER = 512

export const BENCH_USAGE = `Usage: npm run bench:engine -- [flags]

One holder and one, four and eight downloaders on loopback, system by system in interleaved rounds.

  --json                 One JSON document on standard output; progress goes to standard error.
  --quick                shoal and libtorrent-ssl at one downloader, ${QUICK.mib} MiB, within 60 seconds.
  --systems <a,b>        One or more of ${SYSTEM_NAMES.join(', ')}. Default: all but
                         shoal-encrypted, which keeps its cache encrypted (docs/security.md).
  --downloaders <1,4,8>  Numbers of simultaneous downloaders. Default: ${DOWNLOADERS.join(',')}.
  --mib <number>         Size of the blob for every count of downloaders. Default: ${MIB_ALONE} for one,
                         ${MIB_TOGETHER} for several.
  --rounds <number>      Upper bound of rounds. Default: as many as fit in the time (${FULL.roundsMax} at most).
  --folder <path>        Folder for files. Default: the system's folder for temporary files.
  --read                 Shoal's nodes also read every byte through their client while it arrives.
  --help                 Prints this text.
`

/** @throws UsageError */
export function parseBenchOptions(argv: string[]): BenchOptions {
  const values = parsed(argv)
  const isQuick = values.quick ?? false
  const limits = isQuick ? QUICK : FULL
  const mib = values.mib === undefined ? undefined : wholeNumber(values.mib, '--mib', MIB_MAX)
  return {
    isJson: values.json ?? false,
    isHelp: values.help ?? false,
    isQuick,
    isRead: values.read ?? false,
    systems:
      values.systems === undefined
        ? isQuick
          ? QUICK_SYSTEMS
          : SYSTEM_NAMES.filter((name) => name !== 'shoal-encrypted')
        : systemsOf(values.systems),
    downloaders:
      values.downloaders === undefined ? (isQuick ? [1] : DOWNLOADERS) : countsOf(values.downloaders),
    mibFor: (downloaders) => mib ?? (isQuick ? QUICK.mib : defaultMib(downloaders)),
    folder: values.folder ?? tmpdir(),
    roundsMax: values.rounds === undefined ? limits.roundsMax : wholeNumber(values.rounds, '--rounds', 100),
    budgetSeconds: limits.budgetSeconds,
  }
}

function defaultMib(downloaders: number): number {
  return downloaders === 1 ? MIB_ALONE : MIB_TOGETHER
}

function parsed(argv: string[]) {
  try {
    const flag = { type: 'boolean' } as const
    const text = { type: 'string' } as const
    const options = {
      ...{ json: flag, quick: flag, read: flag, help: flag },
      ...{ systems: text, downloaders: text, mib: text, rounds: text, folder: text },
    }
    return parseArgs({ args: argv, options }).values
  } catch (cause) {
    throw usageError((cause as Error).message, cause)
  }
}

function systemsOf(text: string): SystemName[] {
  const names = [...new Set(text.split(','))]
  const unknown = names.find((name) => !isSystemName(name))
  if (unknown !== undefined) throw usageError(`--systems: unknown system ${unknown.slice(0, 40)}`)
  return names.filter(isSystemName)
}

function countsOf(text: string): number[] {
  const counts = text.split(',').map((count) => wholeNumber(count, '--downloaders', DOWNLOADERS_MAX))
  return [...new Set(counts)].sort((a, b) => a - b)
}

function wholeNumber(text: string, flag: string, max: number): number {
  const value = Number(text)
  if (/^\d{1,6}$/.test(text) && value >= 1 && value <= max) return value
  throw usageError(`${flag} takes whole numbers from 1 to ${max}, not ${text.slice(0, 40)}`)
}

function usageError(message: string, cause?: unknown): UsageError {
  return new UsageError(message, { cause, hint: 'npm run bench:engine -- --help lists the flags.' })
}
