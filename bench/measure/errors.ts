import { ShoalError } from '../../core/errors.ts'

/** The machine lacks a program that a system needs: install what the hint names, or leave the system out. */
export class BenchRequirementError extends ShoalError {
  readonly code = 'BENCH_REQUIREMENT'
}

/** A peer of the benchmark failed, ended or took too long: discard the run. */
export class BenchPeerError extends ShoalError {
  readonly code = 'BENCH_PEER'
}

/** A downloaded file is not the blob: discard the run. */
export class BenchContentError extends ShoalError {
  readonly code = 'BENCH_CONTENT'
}
