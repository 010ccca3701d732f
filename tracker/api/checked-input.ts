import type { z } from 'zod'
import { RefusedError } from '../errors.ts'

/** @throws RefusedError INVALID_INPUT that names the field, but never the value, which may be a secret */
export function checked<Schema extends z.ZodType>(schema: Schema, input: unknown): z.output<Schema> {
  const result = schema.safeParse(input)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  const where = issue?.path.join('.') || 'the body'
  throw new RefusedError('INVALID_INPUT', `${where}: ${issue?.message ?? 'invalid'}`)
}
