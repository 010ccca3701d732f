import { cpus, loadavg, release, totalmem } from 'node:os'

/** Where a report was measured. */
export interface MachineFacts {
  cpu: string
  cores: number
  memoryMib: number
  kernel: string
  /** Average of runnable processes over the minute before the run; a quiet machine is below 0.2. */
  loadBefore: number
}

/** Place and method of a report's measurement. */
export interface Machine<How = Measurement> extends MachineFacts {
  /** Of every program that took part. */
  versions: Record<string, string>
  measurement: How
}

export interface Measurement {
  isQuick: boolean
  /** From start to end, preparations included. */
  minutes: number
  /** Every figure of a group is a median over this many rounds. */
  groups: { downloaders: number; blobMib: number; rounds: number }[]
  /**
   * For all fresh and warm transfers together: bytes that Shoal's nodes fetched from the registry although a peer held
   * them. Should be 0.
   */
  mibFromRegistry: number
}

/** Call before the run loads the machine. */
export function describeMachine(): MachineFacts {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryMib: Math.round(totalmem() / 2 ** 20),
    kernel: release(),
    loadBefore: Number(loadavg()[0]!.toFixed(2)),
  }
}

export function machineText({ cpu, cores, memoryMib, kernel, loadBefore }: MachineFacts): string {
  return `Machine: ${cpu}, ${cores} cores, ${memoryMib} MiB of memory, Linux ${kernel}, load before the run ${loadBefore}`
}
