import { readFileSync, statSync } from 'node:fs'
import type { LabProcess } from '../../lab/machine/processes.ts'
import type { LabShoalNode, LabTracker } from '../../lab/shoal.ts'

/** What Shoal's own programs say why something was not shared. */

const REASONS_MAX = 3
const LEVELS = new Set<unknown>(['warn', 'error', 'fatal', 40, 50, 60])

interface Programs {
  nodes: Pick<LabShoalNode, 'process'>[]
  tracker: Pick<LabTracker, 'process'>
}

export type LogMarks = Map<string, number>

/** Where the logs end now. */
export function logMarks(programs: Programs): LogMarks {
  return new Map(partsOf(programs).map(({ errorLogFile }) => [errorLogFile, statSync(errorLogFile).size]))
}

/** The first codes of warnings and errors since then, nodes first. */
export function reasonSince(programs: Programs, marks: LogMarks): string {
  const lines = partsOf(programs).flatMap(({ errorLogFile }) =>
    linesIn(errorLogFile, marks.get(errorLogFile) ?? 0),
  )
  const codes = lines
    .filter(({ level }) => LEVELS.has(level))
    .map(({ code, msg }) => (typeof code === 'string' ? code : String(msg)))
  return [...new Set(codes)].slice(0, REASONS_MAX).join(', ')
}

function partsOf({ nodes, tracker }: Programs): LabProcess[] {
  return [...nodes, tracker].map(({ process }) => process)
}

function linesIn(path: string, from: number): Record<string, unknown>[] {
  const lines = readFileSync(path).subarray(from).toString('utf8').split('\n')
  return lines.filter((line) => line.startsWith('{') && line.endsWith('}')).map((line) => JSON.parse(line))
}
