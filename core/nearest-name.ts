/** Longer names are not compared, because no setting has one. */
const NAME_CHARS_MAX = 100
/** Shorter beginnings match too many names; the dashes of a flag count. */
const CUT_NAME_CHARS_MIN = 4

/**
 * The candidate that `name` probably means: the one with the fewest edits (Levenshtein), if they are at most a third of its
 * length. A name that is only cut short counts as one edit.
 */
export function nearestName(name: string, candidates: Iterable<string>): string | undefined {
  let best: { candidate: string; edits: number } | undefined
  for (const candidate of candidates) {
    const edits = editsBetween(name.slice(0, NAME_CHARS_MAX).toLowerCase(), candidate.toLowerCase())
    const isNear = edits <= Math.ceil(candidate.length / 3)
    if (isNear && edits < (best?.edits ?? Number.POSITIVE_INFINITY)) best = { candidate, edits }
  }
  return best?.candidate
}

function editsBetween(name: string, candidate: string): number {
  const isCut = name.length >= CUT_NAME_CHARS_MIN && candidate.startsWith(name) && name !== candidate
  return isCut ? 1 : editDistance(name, candidate)
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++) {
      const isSame = a[row - 1] === b[column - 1]
      const replaced = previous[column - 1]! + (isSame ? 0 : 1)
      current.push(Math.min(replaced, previous[column]! + 1, current[column - 1]! + 1))
    }
    previous = current
  }
  return previous[b.length]!
}
