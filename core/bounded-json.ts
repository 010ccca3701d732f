import { InvalidInputError } from './errors.ts'

/**
 * JSON (RFC 8259) from outside, scanned before it is parsed. Text that is too long or nested too deeply never becomes
 * objects, so that no later code recurses beyond the bound. Member names are unique (RFC 7515 §4 requires it), because
 * another reader could take the other one of two. The name `__proto__` is refused, because copies would treat it as more
 * than a name.
 */
export interface JsonBounds {
  /** Length of the text in UTF-16 units. */
  charsMax: number
  /** Nesting of arrays and objects; a flat object is 1. */
  depthMax: number
}

const [QUOTE, BACKSLASH, COLON] = [0x22, 0x5c, 0x3a] as const
const [OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d] as const

/** @throws InvalidInputError if the text is not JSON or exceeds a bound; the message quotes none of it */
export function parseBoundedJson(text: string, { charsMax, depthMax }: JsonBounds): unknown {
  if (text.length > charsMax) throw new InvalidInputError('JSON longer than its bound')
  const names = countNames(text, depthMax)
  const value = parsed(text)
  if (countMembers(value) !== names) throw new InvalidInputError('JSON with a repeated member name')
  return value
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Omit the cause: it would quote the text in logs.
    throw new InvalidInputError('not JSON')
  }
}

/**
 * Leaves all other checks to the parser.
 * @returns how many member names the text has: the number of colons outside strings
 */
function countNames(text: string, depthMax: number): number {
  let names = 0
  let depth = 0
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case QUOTE:
        at = endOfString(text, at)
        break
      case COLON:
        names += 1
        break
      case OPEN_OBJECT:
      case OPEN_ARRAY:
        depth += 1
        if (depth > depthMax) throw new InvalidInputError('JSON nested too deeply')
        break
      case CLOSE_OBJECT:
      case CLOSE_ARRAY:
        depth -= 1
    }
  }
  return names
}

/** @returns the offset of the closing quote, or the end of the text */
function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1)
  while (end > 0 && isEscaped(text, end)) end = text.indexOf('"', end + 1)
  return end < 0 ? text.length : end
}

/** Whether an odd number of backslashes precedes the quote. */
function isEscaped(text: string, quote: number): boolean {
  let at = quote - 1
  while (text.charCodeAt(at) === BACKSLASH) at -= 1
  return (quote - at) % 2 === 0
}

/** Counts the members of all objects in `value`; a name that was written twice counts once. */
function countMembers(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  if (Object.hasOwn(value, '__proto__')) throw new InvalidInputError('JSON with a member named __proto__')
  const items = Object.values(value)
  let members = Array.isArray(value) ? 0 : items.length
  for (const item of items) members += countMembers(item)
  return members
}
