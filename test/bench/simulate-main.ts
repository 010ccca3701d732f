import { type FiguresQuestion, figuresOf } from './policy-figures.ts'

/** A simulation in a process of its own, which a rule can be taken out of (without-rule.js). */
const question = JSON.parse(process.argv[2]!) as FiguresQuestion
process.stdout.write(JSON.stringify(figuresOf(question)))
