import { TRUST } from '../../bench/field/cases/trust.ts'
import { tellCases } from './field-story.ts'

tellCases(TRUST.filter(({ isBehindProxy }) => !isBehindProxy))
tellCases(TRUST.filter(({ isBehindProxy }) => isBehindProxy))
