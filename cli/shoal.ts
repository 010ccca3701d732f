#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import type { Logger } from 'pino'
import type { z } from 'zod'
import type { ConfigSchema } from '../core/config-keys.ts'
import type { Defects } from '../core/defects.ts'
import { ShoalError } from '../core/errors.ts'
import { scrubSecrets } from '../core/scrub-secrets.ts'

/**
 * The command line. Each program is imported only when it is asked for: a node must not pay for what only a tracker
 * needs.
 */

/** What a long-running program has started. */
interface Running {
  readonly defects: Defects
  /** Rejects when it has to end by itself. */
  readonly failed?: Promise<never>
  close(): Promise<void>
}

interface Program {
  summary: string
  /** @returns what to close at the end, or undefined when the work is done */
  run(argv: string[]): Promise<Running | undefined>
}

/** The parts get this long to close after a signal; then the process ends all the same. */
const CLOSE_PATIENCE_MS = 10_000
/** One Ctrl-C arrives twice under npm: from the terminal and passed on by npm. A later one is another. */
const SAME_SIGNAL_MS = 700
/** Exit codes: 1 something failed, 2 it was started wrongly (sysexits' EX_USAGE is 64, but tools here use 2). */
const EXIT_FAILED = 1
const EXIT_MISUSED = 2
const MISUSE_CODES = new Set([
  'CONFIG',
  'USAGE',
  'LISTEN_NOT_LOOPBACK',
  'REGISTRY_FILE',
  'AUTHORITY_BUNDLE',
  'DATA_FOLDER',
])

const PROGRAMS: Record<string, Program> = {
  node: {
    summary: 'Runs on every node: the proxy that Docker pulls through, and the transfers between nodes.',
    run: async (argv) => {
      const { nodeConfig } = await import('../node/config.ts')
      return runService('node', nodeConfig, argv, async (config, log) => {
        const { startNode } = await import('../node/main.ts')
        return startNode(config, log)
      })
    },
  },
  tracker: {
    summary: 'Runs once per site: clusters, pull certificates, piece hashes, who has what.',
    run: async (argv) => {
      const { trackerConfig } = await import('../tracker/config.ts')
      return runService('tracker', trackerConfig, argv, async (config, log) => {
        const { runTracker } = await import('../tracker/main.ts')
        return runTracker(config, log)
      })
    },
  },
  up: {
    summary:
      'Tracker and node in one process, for one machine; makes everything it needs at the first start.',
    run: async (argv) => {
      const { startUp, upConfig } = await import('./up.ts')
      return runService('up', upConfig, argv, startUp)
    },
  },
  certs: {
    summary: 'Makes certificates, join tokens and unlock keys, and explains certificates in plain words.',
    run: async (argv) => {
      const { runCerts } = await import('../certs-tool/main.ts')
      process.stdout.write(await runCerts(argv))
      return undefined
    },
  },
}

async function runService<Schema extends ConfigSchema>(
  program: string,
  schema: Schema,
  argv: string[],
  start: (config: Readonly<z.output<Schema>>, log: Logger) => Promise<Running>,
): Promise<Running | undefined> {
  if (argv.includes('--help')) {
    const { helpText } = await import('../core/config-help.ts')
    process.stdout.write(helpText({ program, schema, summary: PROGRAMS[program]!.summary }))
    return undefined
  }
  const { loadConfig } = await import('../core/config.ts')
  const { createLog } = await import('../core/log.ts')
  const config = loadConfig({ program, schema, argv, env: process.env })
  const log = createLog({ level: String(config.logLevel ?? 'info'), name: program })
  return start(config, log)
}

function usage(): string {
  const programs = Object.entries(PROGRAMS).map(([name, { summary }]) => `  ${name.padEnd(8)} ${summary}`)
  return `Shoal moves container images between the nodes of a cluster.\n\nUsage: shoal <program> [flags]\n\n${programs.join('\n')}\n\nshoal <program> --help lists the flags of one; shoal --version prints the version.\n`
}

function version(): string {
  const manifest = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
  return `shoal ${(JSON.parse(manifest) as { version: string }).version}\n`
}

async function main([name, ...argv]: string[]): Promise<void> {
  if (name === '--version') return void process.stdout.write(version())
  if (name === '--help' || name === 'help') return void process.stdout.write(usage())
  const program = name === undefined ? undefined : PROGRAMS[name]
  if (program === undefined) {
    process.stderr.write(name === undefined ? usage() : await unknownProgram(name))
    process.exitCode = EXIT_MISUSED
    return
  }
  const stopping = awaitStopSignal()
  const running = await program.run(argv)
  if (running === undefined) return stopping.forget()
  surviveDefects(running.defects)
  await Promise.race([stopping.signal, ...(running.failed === undefined ? [] : [running.failed])])
  await closeWithin(running, CLOSE_PATIENCE_MS)
  process.exit()
}

/**
 * From the moment that a program runs, an error that belongs to no connection, request or job is noted, and the program
 * goes on. To end it would be no safer: bytes are matched against their digest before they are given out, and rights are
 * checked anew for each connection and request, so that nothing rests on what the broken step left behind. And whoever
 * finds such an error could repeat it: every pull of the machine would end with the process, as often as they like.
 */
function surviveDefects(defects: Defects): void {
  const note = (error: unknown) => void defects.note('process', error)
  process.on('uncaughtException', note).on('unhandledRejection', note)
  process.off('uncaughtException', fail).off('unhandledRejection', fail)
}

async function unknownProgram(name: string): Promise<string> {
  const { nearestName } = await import('../core/nearest-name.ts')
  const nearest = nearestName(name, Object.keys(PROGRAMS))
  const hint = nearest === undefined ? 'shoal --help lists the programs.' : `Did you mean shoal ${nearest}?`
  return `shoal: there is no program ${JSON.stringify(name.slice(0, 80))}\nhint: ${hint}\n`
}

/** Heard from the start on, so that a signal during the start still closes what was started. A second one ends all. */
function awaitStopSignal(): { signal: Promise<void>; forget(): void } {
  let forget = () => {}
  const signal = new Promise<void>((resolve) => {
    const stop = () => {
      setTimeout(forget, SAME_SIGNAL_MS).unref()
      resolve()
    }
    forget = () => {
      process.off('SIGINT', stop).off('SIGTERM', stop)
    }
    process.on('SIGINT', stop).on('SIGTERM', stop)
  })
  return { signal, forget }
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
  return scrubSecrets(text)
    .trim()
    .replaceAll(/\s*\n\s*/g, ' ')
}

process.on('uncaughtException', fail)
process.on('unhandledRejection', fail)
await main(process.argv.slice(2)).catch(fail)
