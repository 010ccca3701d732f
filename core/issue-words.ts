import type { z } from 'zod'

/** What is wrong with a setting's value, in plain words. zod's own speak of types and of its way to compare. */
export function issueWords(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'too_small':
      return boundWords(issue.origin, issue.minimum, issue.inclusive, LEAST)
    case 'too_big':
      return boundWords(issue.origin, issue.maximum, issue.inclusive, MOST)
    case 'invalid_type':
      return `must be ${TYPES[issue.expected] ?? `a ${issue.expected}`}`
    case 'invalid_value':
      return `must be one of ${issue.values.map(String).join(', ')}`
    case 'not_multiple_of':
      return `must be a multiple of ${issue.divisor}`
    default:
      return issue.message.charAt(0).toLowerCase() + issue.message.slice(1)
  }
}

interface BoundWords {
  inclusive: string
  exclusive: string
}
const LEAST: BoundWords = { inclusive: 'at least', exclusive: 'more than' }
const MOST: BoundWords = { inclusive: 'at most', exclusive: 'less than' }

const TYPES: Record<string, string> = {
  int: 'a whole number',
  number: 'a number',
  string: 'text',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
}

function boundWords(origin: string, bound: number | bigint, isInclusive = true, words: BoundWords): string {
  const limit = `${isInclusive ? words.inclusive : words.exclusive} ${bound}`
  if (origin === 'string')
    return bound === 1 && words === LEAST ? 'must not be empty' : `must have ${limit} characters`
  if (origin === 'array' || origin === 'set') return `must have ${limit} ${bound === 1 ? 'entry' : 'entries'}`
  return `must be ${limit}`
}
