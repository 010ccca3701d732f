import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { UsageError } from '../../core/errors.ts'

export type StoreKind = 'sqlite' | 'postgres'

export interface TrackerBenchOptions {
  isJson: boolean
  isHelp: boolean
  store: StoreKind
  /**
   * `capacity`: one tracker, as fast as it answers. `capped`: trackers of a fraction of a core each, at rates that do not depend
   * on the answers. `fleet`: one tracker with as many nodes as a large site has, and its restart.
   */
  mode: 'capacity' | 'capped' | 'fleet'
  /** Length of one measurement. */
  seconds: number
  rounds: number
  /** Nodes of each tracker, each with its own certificate and one kept-alive connection. */
  connections: number
  /** Blobs of the image in each grant. */
  blobs: number
  /** The registry's token key is not configured: the tracker asks the registry about every token. */
  isProbed: boolean
  /** Numbers of trackers, each measured on its own. */
  trackers: number[]
  /** Of each tracker. */
  cores: number
  pullsPerSecond: number
  /** Folder for the tracker's CPU profile; undefined: none is taken. */
  profileFolder: string | undefined
  /** Existing folder; files go below it and are removed at the end. */
  folder: string
}

const SECONDS_MAX = 120
const ROUNDS_MAX = 20
const CONNECTIONS_MAX = 11_000
const BLOBS_MAX = 128
const TRACKERS_MAX = 4
const PULLS_PER_SECOND_MAX = 5_000
const DEFAULTS = {
  capacity: { seconds: '8', connections: '32', blobs: '1' },
  capped: { seconds: '8', connections: '64', blobs: '1' },
  fleet: { seconds: '60', connections: '10000', blobs: '8' },
}

export const TRACKER_USAGE = `Usage: npm run bench:tracker -- [flags]

Pull grants and heartbeats per second of one \`shoal tracker\` process over kept-alive mutual TLS, each node with its own certificate.

  --json                  One JSON document on standard output; progress goes to standard error.
  --store <kind>          sqlite, or postgres (Debian's server, started for the run; needs root). Default: sqlite.
  --seconds <number>      Length of a measurement. Default: 8.
  --rounds <number>       Measurements of each operation, in turns; the report has their medians. Default: 3.
  --connections <number>  Nodes of each tracker, each with one connection. Default: 32.
  --blobs <number>        Blobs in each pull. Default: 1.
  --probed                The registry's token key is not configured: every token causes one request to it.
  --profile <folder>      Writes a CPU profile of the tracker there. The figures are then lower.
  --folder <path>         Folder for the tracker's data. Default: the system's folder for temporary files.
  --help                  Prints this text.

Trackers on a fraction of a core each (control group; needs root), at rates that do not depend on the answers:

  --trackers <1,2>        Numbers of trackers, one after the other; more than one needs --store postgres. --connections: 64.
  --cores <share>         Of a core, for each tracker. Default: 0.25.

One tracker with many nodes: heartbeats every 30 s, pulls at a steady rate, then a restart:

  --nodes <number>        Nodes, each with one connection. --seconds: 60. --blobs: 8, of 2,000.
  --pulls <number>        Pulls per second, each a grant and a completion for each blob. Default: 200.
`

/** @throws UsageError */
export function parseTrackerOptions(argv: string[]): TrackerBenchOptions {
  const values = parsed(argv)
  if (values.nodes !== undefined && values.trackers !== undefined)
    throw new UsageError('--nodes and --trackers are measured one after the other')
  const mode = values.nodes !== undefined ? 'fleet' : values.trackers !== undefined ? 'capped' : 'capacity'
  const defaults = DEFAULTS[mode]
  const store = storeOf(values.store ?? 'sqlite')
  const trackers = (values.trackers ?? '1')
    .split(',')
    .map((text) => numberUpTo(TRACKERS_MAX, '--trackers', text))
  if (store === 'sqlite' && trackers.some((count) => count > 1))
    throw new UsageError('--trackers: a SQLite file has one tracker', { hint: 'Add --store postgres.' })
  return {
    isJson: values.json ?? false,
    isHelp: values.help ?? false,
    store,
    mode,
    seconds: numberUpTo(SECONDS_MAX, '--seconds', values.seconds ?? defaults.seconds),
    rounds: numberUpTo(ROUNDS_MAX, '--rounds', values.rounds ?? '3'),
    connections: numberUpTo(
      CONNECTIONS_MAX,
      values.nodes === undefined ? '--connections' : '--nodes',
      values.nodes ?? values.connections ?? defaults.connections,
    ),
    blobs: numberUpTo(BLOBS_MAX, '--blobs', values.blobs ?? defaults.blobs),
    isProbed: values.probed ?? false,
    trackers,
    cores: shareOf(values.cores ?? '0.25'),
    pullsPerSecond: numberUpTo(PULLS_PER_SECOND_MAX, '--pulls', values.pulls ?? '200'),
    profileFolder: values.profile,
    folder: values.folder ?? tmpdir(),
  }
}

function parsed(argv: string[]) {
  const flag = { type: 'boolean' } as const
  const text = { type: 'string' } as const
  const numbers = { seconds: text, rounds: text, connections: text, blobs: text, nodes: text, pulls: text }
  const trackers = { trackers: text, cores: text, store: text }
  try {
    const options = {
      ...{ json: flag, help: flag, probed: flag },
      ...numbers,
      ...trackers,
      ...{ profile: text, folder: text },
    }
    return parseArgs({ args: argv, options }).values
  } catch (cause) {
    throw new UsageError((cause as Error).message, { cause, hint: '--help lists the flags.' })
  }
}

function storeOf(text: string): StoreKind {
  if (text === 'sqlite' || text === 'postgres') return text
  throw new UsageError(`--store: sqlite or postgres, not ${text.slice(0, 40)}`)
}

function shareOf(text: string): number {
  const value = Number(text)
  if (/^\d(\.\d+)?$/.test(text) && value >= 0.05 && value <= 4) return value
  throw new UsageError(`--cores: a number from 0.05 to 4, not ${text.slice(0, 40)}`)
}

function numberUpTo(max: number, name: string, text: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= 1 && value <= max) return value
  throw new UsageError(`${name}: a whole number from 1 to ${max}, not ${text.slice(0, 40)}`)
}
