import { LabClosedError } from '../../lab/errors.ts'
import { FIELD_PARTS } from '../../lab/field/field-lab.ts'
import { tellFailure } from '../../lab/machine/program-failure.ts'
import { requireParts } from '../../lab/machine/requirements.ts'
import { closeOnSignals, type LabRun } from '../../lab/machine/run.ts'
import { CASES } from './cases/index.ts'
import { FAULT_PARTS, FAULTS } from './faults/index.ts'
import { measureCases } from './measure-cases.ts'
import { fieldUsage, parseFieldOptions } from './options.ts'
import { type HeldRun, renderField, reportOf } from './report.ts'
import { problemOf } from './verdict.ts'

/** `npm run bench:field`: situations from the field, each met with Shoal and without. */

const NAMES = [...CASES, ...FAULTS].map(({ name }) => name)

async function main(argv: string[]): Promise<void> {
  const options = parseFieldOptions(argv, NAMES)
  if (options.isHelp) return void process.stdout.write(fieldUsage(NAMES))
  const isChosen = ({ name }: { name: string }) => options.cases.length === 0 || options.cases.includes(name)
  const faults = FAULTS.filter(isChosen)
  requireParts([...FIELD_PARTS, ...(faults.length === 0 ? [] : FAULT_PARTS)])
  const held = await measure({ ...options, faults, cases: CASES.filter(isChosen) })
  process.stdout.write(`${options.isJson ? JSON.stringify(reportOf(held)) : renderField(held)}\n`)
}

async function measure({
  cases,
  faults,
  pairs,
}: {
  cases: typeof CASES
  faults: typeof FAULTS
  pairs: number | undefined
}): Promise<HeldRun[]> {
  const say = (line: string) => void process.stderr.write(`${line}\n`)
  const onHeld = ({ run, bar }: HeldRun) =>
    say(`${run.case}, ${run.variant}: ${problemOf(run, bar) ?? 'ok'} ${JSON.stringify(run)}`)
  let current: LabRun | undefined
  closeOnSignals({ close: async () => current?.close() }, say)
  const onRun = (run: LabRun) => {
    current = run
  }
  const held = await measureCases(cases, { pairs, onHeld, onRun })
  for (const fault of faults) {
    say(`starting: ${fault.name}`)
    const measured = await fault.measure({ pairs, onRun })
    measured.forEach(onHeld)
    held.push(...measured)
  }
  return held
}

await main(process.argv.slice(2)).catch((error: unknown) => {
  // The signal that closed the lab ends this process.
  if (!(error instanceof LabClosedError)) process.exitCode = tellFailure('bench:field', error)
})
