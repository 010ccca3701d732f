import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { UsageError } from '../../core/errors.ts'

export interface TrackerBenchOptions {
  isJson: boolean
  isHelp: boolean
  /** Length of one operation's measurement in each round. */
  seconds: number
  rounds: number
  /** Nodes, each with its own certificate and one kept-alive connection. */
  connections: number
  /** Blobs of the image in each grant. */
  blobs: number
  /** The registry's token key is not configured: the tracker asks the registry about every token. */
  isProbed: boolean
  /** Folder for the tracker's CPU profile; undefined: none is taken. */
  profileFolder: string | undefined
  /** Existing folder; files go below it and are removed at the end. */
  folder: string
}

const SECONDS_MAX = 60
const ROUNDS_MAX = 20
const CONNECTIONS_MAX = 8192
const BLOBS_MAX = 128

export const TRACKER_USAGE = `Usage: npm run bench:tracker -- [flags]

Pull grants and heartbeats per second of one \`shoal tracker\` process over kept-alive mutual TLS.

  --json                  One JSON document on standard output; progress goes to standard error.
  --seconds <number>      Length of a measurement. Default: 8.
  --rounds <number>       Measurements of each operation, in turns; the report has their medians. Default: 3.
  --connections <number>  Nodes, each with one connection. Default: 32.
  --blobs <number>        Blobs in each pull. Default: 1.
  --probed                The registry's token key is not configured: every token causes one request to it.
  --profile <folder>      Writes a CPU profile of the tracker there. The figures are then lower.
  --folder <path>         Folder for the tracker's data. Default: the system's folder for temporary files.
  --help                  Prints this text.
`

/** @throws UsageError */
export function parseTrackerOptions(argv: string[]): TrackerBenchOptions {
  const values = parsed(argv)
  return {
    isJson: values.json ?? false,
    isHelp: values.help ?? false,
    seconds: numberUpTo(SECONDS_MAX, '--seconds', values.seconds ?? '8'),
    rounds: numberUpTo(ROUNDS_MAX, '--rounds', values.rounds ?? '3'),
    connections: numberUpTo(CONNECTIONS_MAX, '--connections', values.connections ?? '32'),
    blobs: numberUpTo(BLOBS_MAX, '--blobs', values.blobs ?? '1'),
    isProbed: values.probed ?? false,
    profileFolder: values.profile,
    folder: values.folder ?? tmpdir(),
  }
}

function parsed(argv: string[]) {
  const flag = { type: 'boolean' } as const
  const text = { type: 'string' } as const
  const numbers = { seconds: text, rounds: text, connections: text, blobs: text }
  try {
    const options = { json: flag, help: flag, probed: flag, ...numbers, profile: text, folder: text }
    return parseArgs({ args: argv, options }).values
  } catch (cause) {
    throw new UsageError((cause as Error).message, { cause, hint: '--help lists the flags.' })
  }
}

function numberUpTo(max: number, name: string, text: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= 1 && value <= max) return value
  throw new UsageError(`${name}: a whole number from 1 to ${max}, not ${text.slice(0, 40)}`)
}
