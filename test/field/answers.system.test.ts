import { ANSWERS } from '../../bench/field/cases/answers.ts'
import { tellCases } from './field-story.ts'

tellCases(ANSWERS.filter(({ isLong }) => !isLong))
