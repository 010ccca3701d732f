import { WAYS } from '../../bench/field/cases/ways.ts'
import { tellCases } from './field-story.ts'

tellCases(WAYS.filter(({ isBehindProxy }) => !isBehindProxy))
tellCases(WAYS.filter(({ isBehindProxy }) => isBehindProxy))
