import { InvalidInputError } from './errors.ts'

/**
 * JSON (RFC 8259) from outside, looked through before any of it is parsed: what is too long or nested too deeply never
 * becomes objects, so that no code after it recurses further than its bound. Member names are unique (RFC 7515 §4 asks
 * for that): of two, another reader could take the other one. None is `__proto__`, which copies would take for more than
 * a name.
 */
export interface JsonBounds {
  /** Of the text, in UTF-16 units. */
  charsMax: number
  /** Of arrays and objects in each other; a flat object is 1. */
  depthMax: number
}

const [QUOTE, BACKSLASH, COLON] = [0x22, 0x5c, 0x3a] as const
const [OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d] as const

/** @throws InvalidInputError when the text is no JSON or above a bound; the message quotes none of it */
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
    // No cause: it would quote the text into logs.
    throw new InvalidInputError('not JSON')
  }
}

/**
 * Whether the rest is JSON at all is for the parser to say.
 * @returns how many member names are written: as many as there are colons outside strings
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

/** @returns where the closing quote is, or the end of the text */
function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1)
  while (end > 0 && isEscaped(text, end)) end = text.indexOf('"', end + 1)
  return end < 0 ? text.length : end
}

/** An odd number of backslashes stands before the quote. */
function isEscaped(text: string, quote: number): boolean {
  let at = quote - 1
  while (text.charCodeAt(at) === BACKSLASH) at -= 1
  return (quote - at) % 2 === 0
}

/** Members of all objects in `value`; of a name that was written twice, one is left. */
function countMembers(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  if (Object.hasOwn(value, '__proto__')) throw new InvalidInputError('JSON with a member named __proto__')
  const items = Object.values(value)
  let members = Array.isArray(value) ? 0 : items.length
  for (const item of items) members += countMembers(item)
  return members
}
