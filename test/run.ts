import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { SKIPPED_FILE, skippedLines } from '../lab/machine/skipped.ts'

/**
 * `npm test`: all tests (fast, stories, system) and a last line `N passed, N failed[, N skipped]` with the totals of the run.
 * Before it, one line for each thing that this machine lacks says what was skipped, and how to get it. On continuous
 * integration (`CI=true`) nothing may be skipped. Arguments go to vitest (file filters, --project fast); with `--full` also what is not always to be had is tried.
 */

const FULL = '--full'
/** Of such a run some tests are skipped by intent: runtimes that left Debian, and tests of other names. */
const MAY_SKIP = /^(--full|-t|--testNamePattern.*)$/

/** Statuses of Jest's format. */
const SKIPPED = new Set(['skipped', 'pending', 'todo'])

interface Totals {
  passed: number
  failed: number
  skipped: number
}

/** What is read of vitest's JSON report (the format of Jest). */
interface Report {
  numPassedTests: number
  numFailedTests: number
  numPendingTests: number
  numTodoTests: number
  testResults: { status: string; assertionResults: TestResult[] }[]
}

interface TestResult {
  status: string
  fullName: string
  /** Of all tries. */
  failureMessages: string[]
}

async function runTests(vitestArguments: string[]): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'shoal-tests-'))
  try {
    const reportFile = join(folder, 'report.json')
    const skippedFile = join(folder, 'skipped.jsonl')
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${reportFile}`]
    const exitCode = await runVitest(['run', ...reporters, ...vitestArguments], {
      [SKIPPED_FILE]: skippedFile,
    })
    const report = JSON.parse(readFileSync(reportFile, 'utf8')) as Report
    tellSecondTries(report)
    for (const line of skippedLines(skippedFile)) process.stdout.write(`${line}\n`)
    const mayBeSkipped =
      process.env.CI !== 'true' || vitestArguments.some((argument) => MAY_SKIP.test(argument))
    if (!mayBeSkipped) tellSkipped(report)
    return conclude(totalsOf(report), { exitCode, mayBeSkipped })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function runVitest(vitestArguments: string[], variables: NodeJS.ProcessEnv): Promise<number> {
  const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs')
  const passedOn = vitestArguments.filter((argument) => argument !== FULL)
  const full = passedOn.length < vitestArguments.length ? { SHOAL_TESTS: 'full' } : {}
  const env = { ...process.env, ...variables, ...full }
  const child = spawn(process.execPath, [vitest, ...passedOn], { stdio: 'inherit', env })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve(code ?? 1))
  })
}

/** A test that passed only when it was repeated hides something: it is named, so that somebody looks. */
function tellSecondTries({ testResults }: Report): void {
  for (const { status, fullName, failureMessages } of testResults.flatMap((file) => file.assertionResults)) {
    const [message] = failureMessages
    if (status === 'passed' && message !== undefined)
      process.stdout.write(`passed on the second try: ${fullName}: ${message.split('\n')[0]}\n`)
  }
}

/** A file that could not even be loaded has no tests of its own to count: it counts as one that failed. */
function totalsOf(report: Report): Totals {
  const unloaded = report.testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0,
  )
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + unloaded.length,
    skipped: report.numPendingTests + report.numTodoTests,
  }
}

function tellSkipped({ testResults }: Report): void {
  for (const { status, fullName } of testResults.flatMap((file) => file.assertionResults)) {
    if (SKIPPED.has(status)) process.stdout.write(`skipped, which counts as failed here: ${fullName}\n`)
  }
}

/** An error outside any test fails the run too, and a run without tests is no success. */
function conclude(
  totals: Totals,
  { exitCode, mayBeSkipped }: { exitCode: number; mayBeSkipped: boolean },
): number {
  const counted = totals.failed + (mayBeSkipped ? 0 : totals.skipped)
  const failed = counted === 0 && exitCode !== 0 ? 1 : counted
  const skipped = totals.skipped === 0 ? '' : `, ${totals.skipped} skipped`
  process.stdout.write(`${totals.passed} passed, ${failed} failed${skipped}\n`)
  return failed === 0 && totals.passed > 0 ? 0 : 1
}

process.exitCode = await runTests(process.argv.slice(2)).catch((error: unknown) => {
  process.stdout.write(`the tests could not be run: ${(error as Error).message}\n0 passed, 1 failed\n`)
  return 1
})
