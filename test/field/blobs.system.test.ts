import { BLOBS } from '../../bench/field/cases/blobs.ts'
import { tellCases } from './field-story.ts'

tellCases(BLOBS.filter(({ isLong }) => !isLong))
