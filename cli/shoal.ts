#!/usr/bin/env node
import { ShoalError } from '../core/errors.ts'
import { plainText } from '../core/plain-text.ts'
import { scrubSecrets } from '../core/scrub-secrets.ts'
import { type Found, findEntry, isGroup, type Program, type Running } from './command-tree.ts'
import { TREE } from './tree.ts'

/** The command line: finds what the words mean in the tree, and runs it. */

/**
 * How long the parts may take to close after a signal, a node's last answers included; then the process ends anyway. A
 * second signal ends it at once.
 */
const CLOSE_PATIENCE_MS = 40_000
/** One Ctrl-C arrives twice under npm: from the terminal and passed on by npm. A later one is another. */
const SAME_SIGNAL_MS = 700
/** Exit codes (EXITS in cli/command-tree.ts explains them; sysexits' EX_USAGE is 64, but tools here use 2). */
const EXIT_FAILED = 1
const EXIT_MISUSED = 2
const MISUSE_CODES = new Set([
  'CONFIG',
  'USAGE',
  'LISTEN_NOT_LOOPBACK',
  'REGISTRY_FILE',
  'AUTHORITY_BUNDLE',
  'DATA_FOLDER',
  'GUARD',
])

async function main(argv: string[]): Promise<void> {
  const found = findEntry(TREE, argv)
  if (found.oldName !== undefined) {
    process.stderr.write(`shoal: \`${found.oldName}\` is now \`${found.path.join(' ')}\`\n`)
  }
  const { entry, path, rest } = found
  if (found.isHelpWanted) return void process.stdout.write(await helpOf(found, process.stdout))
  if (isGroup(entry)) {
    process.stderr.write(
      `shoal: missing command after ${path.join(' ')}\n\n${await helpOf(found, process.stderr)}`,
    )
    process.exitCode = EXIT_MISUSED
  }
  if (entry.program !== undefined) await runProgram(entry.name, entry.program, rest)
  if (entry.command !== undefined) {
    const [{ runCommand }, { outsideOf }] = await Promise.all([
      import('./run-command.ts'),
      import('./outside.ts'),
    ])
    process.stdout.write(await runCommand(path, await entry.command(), rest, outsideOf(process)))
  }
}

async function helpOf(found: Found, output: NodeJS.WriteStream): Promise<string> {
  const { helpText } = await import('./help.ts')
  const { lookOf } = await import('./table.ts')
  const { isTTY: isTerminal, columns = 0 } = output
  return helpText(found, lookOf({ output: { isTerminal, columns }, env: process.env }))
}

async function runProgram(name: string, load: () => Promise<Program>, argv: string[]): Promise<never> {
  const stopSignal = awaitStopSignal()
  const { schema, start, canReload } = await load()
  const hangup = canReload ? new Hangup() : undefined
  const { configFileOf, loadConfig } = await import('../core/config.ts')
  const { createLog } = await import('../core/log.ts')
  const { RecentLog } = await import('../core/recent-log.ts')
  const oldNames: object[] = []
  const onOldName = (used: object) => void oldNames.push(used)
  const sources = { program: name, schema, argv, env: process.env, onOldName }
  const reread = () => loadConfig(sources)
  const config = reread()
  const { explainDisk } = await import('../core/disk-space.ts')
  const recentLog = new RecentLog()
  const log = createLog({ level: String(config.logLevel ?? 'info'), name, recent: recentLog })
  for (const used of oldNames)
    log.warn(used, 'a setting has a new name; the next release will not know the old one')
  const starting = start(config, log, { reread, configFile: configFileOf(sources), recentLog })
  const running = await starting.catch((error: unknown) => {
    throw explainDisk(error, String(config.dataDir))
  })
  surviveDefects(running.defects)
  hangup?.begin(() => running.reload?.())
  await Promise.race([stopSignal, ...(running.failed === undefined ? [] : [running.failed])])
  await closeWithin(running, CLOSE_PATIENCE_MS)
  process.exit()
}

/**
 * From the moment that a program runs, an error that belongs to no connection, request or job is noted, and the program
 * goes on. To end it would be no safer: bytes are matched against their digest before they are given out, and rights are
 * checked anew for each connection and request, so that nothing rests on what the broken step left behind. And whoever
 * finds such an error could repeat it: every pull of the machine would end with the process, as often as they like.
 */
function surviveDefects(defects: Running['defects']): void {
  const note = (error: unknown) => void defects.note('process', error)
  process.on('uncaughtException', note).on('unhandledRejection', note)
  process.off('uncaughtException', fail).off('unhandledRejection', fail)
}

/** SIGHUP reads the settings again: once at the end of the start, if it came before. */
class Hangup {
  #reload: (() => Promise<unknown> | undefined) | undefined
  #isDue = false

  constructor() {
    process.on('SIGHUP', () => {
      this.#isDue = true
      this.#run()
    })
  }

  begin(reload: () => Promise<unknown> | undefined): void {
    this.#reload = reload
    this.#run()
  }

  #run(): void {
    if (!this.#isDue || this.#reload === undefined) return
    this.#isDue = false
    // The program has logged why the settings stay as they are.
    this.#reload()?.catch(() => undefined)
  }
}

/** Heard from the start on, so that a signal during the start still closes what was started. A second one ends all. */
function awaitStopSignal(): Promise<void> {
  return new Promise((resolve) => {
    const stop = () => {
      setTimeout(() => process.off('SIGINT', stop).off('SIGTERM', stop), SAME_SIGNAL_MS).unref()
      resolve()
    }
    process.on('SIGINT', stop).on('SIGTERM', stop)
  })
}

async function closeWithin(running: Running, patienceMs: number): Promise<void> {
  const late = new Promise<never>((_, reject) => {
    setTimeout(() => reject(new Error(`not closed after ${patienceMs} ms`)), patienceMs).unref()
  })
  await Promise.race([running.close(), late])
}

/** One line says what failed, one what to do about it. */
function fail(error: unknown): never {
  if (error instanceof ShoalError) {
    process.stderr.write(
      `shoal: ${oneLine(error.message)}\n${error.hint ? `hint: ${oneLine(error.hint)}\n` : ''}`,
    )
    process.exit(MISUSE_CODES.has(error.code) ? EXIT_MISUSED : EXIT_FAILED)
  }
  const { message, stack } = error instanceof Error ? error : new Error(String(error))
  const where = /\n\s+at (.*)/.exec(stack ?? '')?.[1]
  process.stderr.write(
    `shoal: unexpected error: ${oneLine(message)}${where === undefined ? '' : ` (at ${where})`}\n`,
  )
  process.exit(EXIT_FAILED)
}

function oneLine(text: string): string {
  return plainText(
    scrubSecrets(text)
      .trim()
      .replaceAll(/\s*\n\s*/g, ' '),
  )
}

process.on('uncaughtException', fail)
process.on('unhandledRejection', fail)
await main(process.argv.slice(2)).catch(fail)
