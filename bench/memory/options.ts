import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { UsageError } from '../../core/errors.ts'

export interface MemoryOptions {
  isJson: boolean
  isHelp: boolean
  /** Size of the large layer in GiB; 0 leaves it out. */
  gib: number
  /** Size of the small layer in MiB. */
  smallMib: number
  /** Existing folder; files go below it and are removed at the end. Needs twice the large layer. */
  folder: string
  /** Measures an idle node with guard and relay for this many minutes instead; 0: no. */
  idleMinutes: number
  /** What runs them. */
  program: string
}

const GIB_MAX = 64
const SMALL_MIB_MAX = 4096
const IDLE_MINUTES_MAX = 600
const PROGRAM = join(import.meta.dirname, '../../bin/shoal.js')

export const MEMORY_USAGE = `Usage: npm run bench:memory -- [flags]

Memory of \`shoal node\` while layers pass through its proxy: idle, 1 GiB and 10 GiB from the registry, 1 GiB from a peer.

  --json            One JSON document on standard output; progress goes to standard error.
  --gib <number>    Size of the large layer in GiB. Default: 10; 0 leaves it out.
  --mib <number>    Size of the small layer in MiB. Default: 1024.
  --folder <path>   Folder for files, twice the large layer. Default: the system's folder for temporary files.
  --idle <minutes>  Instead of that: guard, node and relay together after so long without work, and their processor time.
  --program <file>  Runs them: bin/shoal of an unpacked package. Default: this checkout.
  --help            Prints this text.
`

/** @throws UsageError */
export function parseMemoryOptions(argv: string[]): MemoryOptions {
  const values = parsed(argv)
  return {
    isJson: values.json ?? false,
    isHelp: values.help ?? false,
    gib: numberOf(values.gib ?? '10', '--gib', { min: 0, max: GIB_MAX }),
    smallMib: numberOf(values.mib ?? '1024', '--mib', { min: 1, max: SMALL_MIB_MAX }),
    folder: values.folder ?? tmpdir(),
    idleMinutes: numberOf(values.idle ?? '0', '--idle', { min: 0, max: IDLE_MINUTES_MAX }),
    program: values.program ?? PROGRAM,
  }
}

function parsed(argv: string[]) {
  const flag = { type: 'boolean' } as const
  const text = { type: 'string' } as const
  try {
    const options = { json: flag, help: flag, gib: text, mib: text, folder: text, idle: text, program: text }
    return parseArgs({ args: argv, options }).values
  } catch (cause) {
    throw new UsageError((cause as Error).message, { cause, hint: '--help lists the flags.' })
  }
}

function numberOf(text: string, name: string, { min, max }: { min: number; max: number }): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= min && value <= max) return value
  throw new UsageError(`${name}: a whole number from ${min} to ${max}, not ${text.slice(0, 40)}`)
}
