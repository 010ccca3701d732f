import type { FieldCase } from '../field-case.ts'
import { ANSWERS } from './answers.ts'
import { BLOBS } from './blobs.ts'
import { CREDENTIALS } from './credentials.ts'
import { TRUST } from './trust.ts'

/** All situations that are a matter of the registry. */
export const CASES: readonly FieldCase[] = [...ANSWERS, ...BLOBS, ...CREDENTIALS, ...TRUST]
