import { type Boundary, type DefectPlace, Defects } from '../../core/defects.ts'

/** Defects of a part under test, and where they were met. */
export function noteDefects(): {
  defects: Defects
  places: DefectPlace[]
  lines: object[]
  boundary: Boundary
} {
  const places: DefectPlace[] = []
  const lines: object[] = []
  const log = { error: (line: object) => void lines.push(line) }
  const defects = new Defects({ log, count: (where) => void places.push(where) })
  /** Of something that no error ends. */
  const boundary = defects.boundary('process', () => undefined)
  return { defects, places, lines, boundary }
}
