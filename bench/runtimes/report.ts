import type { ClientRun } from '../../lab/runtimes/measure-client.ts'

/** The bars of a row: two nodes cost the registry one copy, and the second has its layers from peers. */
export const COPIES_MAX = 1.05
export const PEER_SHARE_MIN = 0.95

/** What keeps a run from its bars; undefined where it meets them. */
export function problemOf({ ok, registryCopies, peerShare, problem }: ClientRun): string | undefined {
  if (!ok) return problem ?? 'the pull failed'
  if (registryCopies > COPIES_MAX) return `${registryCopies} copies left the registry`
  if (peerShare < PEER_SHARE_MIN) return `the second node had ${peerShare} from peers`
  return undefined
}

export function renderRuns(runs: ClientRun[]): string {
  const rows = runs.map((run) => [
    ...[run.client, run.version, run.configuration],
    ...[run.registryCopies.toFixed(2), run.peerShare.toFixed(2), problemOf(run) ?? 'ok'],
  ])
  const table = [['client', 'version', 'configuration', 'copies', 'from peers', 'result'], ...rows]
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)))
  return table
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
