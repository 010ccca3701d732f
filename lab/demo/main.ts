import { setTimeout as delay } from 'node:timers/promises'
import { filledLines } from '../../cli/table.ts'
import { LabClosedError } from '../errors.ts'
import { EXIT_FAILED, tellFailure } from '../machine/program-failure.ts'
import { howToGet, type LabRequirement, lackOf, missingParts, requireParts } from '../machine/requirements.ts'
import { DEMO_USAGE, type DemoOptions, parseDemoOptions } from './options.ts'
import { openProgressView, type ProgressView } from './progress.ts'
import { openRealStage, REAL_PARTS } from './real-stage.ts'
import { type DemoReport, judge, renderTable } from './report.ts'
import type { DemoStage } from './stage.ts'
import { openStandInStage } from './stand-in-stage.ts'
import { tellStory } from './story.ts'

/** `npm run demo`: a cluster on this machine, of real parts where they are here, and a pull that shows what Shoal does. */

const MEBIBYTE = 1024 ** 2
/** The first layer's share of the data. */
const FIRST_LAYER_SHARE = 5 / 8
/** Of what the demonstration says before it begins. */
const COLUMNS = 80

async function main(argv: string[]): Promise<void> {
  const options = parseDemoOptions(argv)
  if (options.isHelp) return void process.stdout.write(DEMO_USAGE)
  // Standard output belongs to the document when there is one.
  const view = openProgressView(options.isJson ? process.stderr : process.stdout)
  const conclude = (report: DemoReport) => {
    if (options.isJson) process.stdout.write(`${JSON.stringify(report)}\n`)
    if (!report.ok) process.exitCode = EXIT_FAILED
  }
  await demonstrate(options, view, conclude).catch((error: unknown) => {
    if (error instanceof LabClosedError) return // The signal that closed it ends this process.
    conclude(NOTHING_SHOWN)
    process.exitCode = tellFailure('demo', error)
  })
}

const NOTHING_SHOWN: DemoReport = {
  ...{ ok: false, blobBytes: 0, registryEgressBytes: 0, nodes: [], refusals: [], parts: [] },
}

async function demonstrate(
  options: DemoOptions,
  view: ProgressView,
  conclude: (report: DemoReport) => void,
): Promise<void> {
  const stage = await openStage(options, view)
  try {
    const { report, reasons } = judge(await tellStory(stage, view))
    view.say(`\n${renderTable(report)}`)
    for (const reason of reasons) view.say(`not ok: ${reason}`)
    conclude(report)
    if (options.isKept) await keepUp(stage, view)
  } finally {
    await stage.close()
  }
}

/** @throws LabRequirementError where the real parts are insisted on, and some are not here */
function openStage({ imageMib, stage }: DemoOptions, view: ProgressView): Promise<DemoStage> {
  const bytes = imageMib * MEBIBYTE
  const first = Math.round(bytes * FIRST_LAYER_SHARE)
  const surroundings = { layerDataBytes: [first, bytes - first], say: (line: string) => view.say(line) }
  if (stage === 'real') requireParts(REAL_PARTS, 'npm run demo -- --real')
  const missing = missingParts(REAL_PARTS)
  if (stage !== 'stand-ins' && missing.length === 0) return openRealStage(surroundings)
  for (const line of standInNote(stage === undefined ? missing : [])) view.say(line)
  return openStandInStage(surroundings)
}

/** @param missing parts for whose sake the real demonstration is not shown */
function standInNote(missing: LabRequirement[]): string[] {
  const what =
    'Registry and pulling clients are stand-ins: small programs of this repository that need only Node. Tracker and nodes are Shoal itself. A stand-in stores the image, and does not run it.'
  if (missing.length === 0) return [...wrapped(what), '']
  const lack = `The real parts are not used: ${lackOf(missing)}.`
  // Commands are to be copied: a line each, whole.
  const steps = howToGet(missing, 'npm run demo -- --real').split(/(?<=;) (?=then )/)
  return [...wrapped(what), ...wrapped(lack), ...steps, '']
}

function wrapped(text: string): string[] {
  return filledLines(text.split(' '), COLUMNS)
}

/** Until a signal closes the stage and ends this process. */
async function keepUp({ places }: DemoStage, view: ProgressView): Promise<void> {
  view.say(`everything is still running; Ctrl-C stops and removes it`)
  for (const place of places) view.say(place)
  const dayMs = 24 * 3600 * 1000
  for (;;) await delay(dayMs)
}

await main(process.argv.slice(2)).catch((error) => {
  process.exitCode = tellFailure('demo', error)
})
