import type { PieceIndex } from '../../core/metainfo.ts'
import type { Pace } from './pace.ts'
import type { Assembly } from './source.ts'

/** The pieces in flight. Invariant: the outstanding bytes of sources and pace equal the sum of its entries. */
export class InFlight {
  /** For each piece its assemblies, in the order of their requests. */
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

  /** Records a request for the next block. @returns where it begins */
  asked(assembly: Assembly, length: number): number {
    const begin = assembly.requestedBytes
    assembly.outstanding.set(begin, length)
    assembly.requestedBytes += length
    assembly.source.outstandingBytes += length
    assembly.source.outstandingRequests += 1
    return begin
  }

  /** A block arrived or will not arrive. @returns false when it was not requested */
  answered({ source, outstanding }: Assembly, begin: number): boolean {
    const length = outstanding.get(begin)
    if (length === undefined) return false
    outstanding.delete(begin)
    source.outstandingBytes -= length
    source.outstandingRequests -= 1
    this.#pace.dueBytes -= length
    return true
  }

  /** Call when every requested block has been answered. */
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
