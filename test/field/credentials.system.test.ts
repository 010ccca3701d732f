import { CREDENTIALS } from '../../bench/field/cases/credentials.ts'
import { tellCases } from './field-story.ts'

tellCases(CREDENTIALS.filter(({ isLong }) => !isLong))
