import { mebibytes } from './report.ts'

/** One layer on one node. */
export interface ProgressRow {
  node: string
  client: string
  /** From 1. */
  layer: number
  bytes: number
  registryBytes: number
  peerBytes: number
}

export interface ProgressView {
  /** All rows, always the same ones in the same order. */
  update(rows: ProgressRow[]): void
  /** A line between the rows. */
  say(line: string): void
  /** Leaves the rows as they are; the next update draws new ones. */
  settle(): void
}

/** A terminal or a pipe. */
export interface TextOutput {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

export function openProgressView(output: TextOutput): ProgressView {
  return output.isTTY ? barView(output) : lineView(output)
}

/** With it a line has 80 characters, the width of narrow terminals. */
const BAR_WIDTH = 24
const FROM_REGISTRY = '▒'
const FROM_PEERS = '█'
export const LEGEND = `${FROM_REGISTRY} from the registry   ${FROM_PEERS} from peers`

/** One line that is redrawn in place for each row. */
function barView(output: TextOutput): ProgressView {
  let drawn = 0
  const lineUp = '\x1b[1A'
  const clearLine = '\x1b[2K'
  return {
    update(rows) {
      const lines = [LEGEND, ...rows.map(barLine)].map((line) => line.slice(0, (output.columns || 81) - 1))
      output.write(lineUp.repeat(drawn) + lines.map((line) => `\r${clearLine}${line}\n`).join(''))
      drawn = lines.length
    },
    say(line) {
      output.write(`${line}\n`)
      drawn = 0
    },
    settle() {
      drawn = 0
    },
  }
}

export function barLine({ node, client, layer, bytes, registryBytes, peerBytes }: ProgressRow): string {
  const registryCells = cells(registryBytes, bytes)
  const allCells = cells(registryBytes + peerBytes, bytes)
  const bar = FROM_REGISTRY.repeat(registryCells) + FROM_PEERS.repeat(allCells - registryCells)
  const name = `${node} ${client}`.padEnd(14)
  const mib = (part: number) => (part / 1024 ** 2).toFixed(1)
  const amounts = `registry ${mib(registryBytes)}, peers ${mib(peerBytes)} MiB`
  return `${name} layer ${layer} [${bar.padEnd(BAR_WIDTH)}] ${amounts}`
}

function cells(part: number, whole: number): number {
  return Math.min(BAR_WIDTH, Math.round((part / whole) * BAR_WIDTH))
}

/** A row gets a new line for each further part of this size, and when it is complete. */
const LINE_STEP = 0.5

/** For logs and pipes: few lines, none redrawn. */
function lineView(output: TextOutput): ProgressView {
  const lastShare = new Map<string, number>()
  return {
    update(rows) {
      for (const row of rows) {
        const key = `${row.node}/${row.layer}`
        const share = (row.registryBytes + row.peerBytes) / row.bytes
        const last = lastShare.get(key) ?? 0
        if (share < last + LINE_STEP && (share < 1 || last >= 1)) continue
        lastShare.set(key, share)
        output.write(`${plainLine(row, share)}\n`)
      }
    },
    say: (line) => void output.write(`${line}\n`),
    settle() {},
  }
}

function plainLine({ node, client, layer, registryBytes, peerBytes }: ProgressRow, share: number): string {
  const amounts = `${mebibytes(registryBytes)} from the registry, ${mebibytes(peerBytes)} from peers`
  return `${node} (${client}) layer ${layer}: ${Math.floor(share * 100)} %, ${amounts}`
}
