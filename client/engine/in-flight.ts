import type { PieceIndex } from '../../core/metainfo.ts'
import type { Pace } from './pace.ts'
import type { Assembly } from './source.ts'

/** The book of what is under way. Invariant: what sources and pace count as outstanding is the sum of what stands in it. */
export class InFlight {
  /** Of each piece from whom it comes, the first that was asked first. */
  readonly #byPiece = new Map<PieceIndex, Assembly[]>()
  readonly #pace: Pace

  constructor(pace: Pace) {
    this.#pace = pace
  }

  get pieces(): ReadonlyMap<PieceIndex, readonly Assembly[]> {
    return this.#byPiece
  }

  has(piece: PieceIndex): boolean {
    return this.#byPiece.has(piece)
  }

  of(piece: PieceIndex): readonly Assembly[] {
    return this.#byPiece.get(piece) ?? []
  }

  add(assembly: Assembly): void {
    assembly.source.assemblies.push(assembly)
    this.#pace.begun(assembly.length)
    const others = this.#byPiece.get(assembly.piece)
    if (others) others.push(assembly)
    else this.#byPiece.set(assembly.piece, [assembly])
  }

  /** Its next block is asked for. @returns where that begins */
  asked(assembly: Assembly, length: number): number {
    const begin = assembly.requestedBytes
    assembly.outstanding.set(begin, length)
    assembly.requestedBytes += length
    assembly.source.outstandingBytes += length
    assembly.source.outstandingRequests += 1
    return begin
  }

  /** A block of it is here, or will not come. @returns false when it was not asked for */
  answered({ source, outstanding }: Assembly, begin: number): boolean {
    const length = outstanding.get(begin)
    if (length === undefined) return false
    outstanding.delete(begin)
    source.outstandingBytes -= length
    source.outstandingRequests -= 1
    this.#pace.dueBytes -= length
    return true
  }

  /** All blocks that were asked for have been answered. */
  remove(assembly: Assembly): void {
    const { assemblies } = assembly.source
    this.#pace.inFlightBytes -= assembly.length
    this.#pace.dueBytes -= assembly.length - assembly.requestedBytes
    assemblies.splice(assemblies.indexOf(assembly), 1)
    const others = this.#byPiece.get(assembly.piece)?.filter((other) => other !== assembly) ?? []
    if (others.length > 0) this.#byPiece.set(assembly.piece, others)
    else this.#byPiece.delete(assembly.piece)
  }
}
