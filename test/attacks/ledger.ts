import { appendFileSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { expect, test } from 'vitest'
import { loot } from './loot.ts'

/**
 * Every attack of this folder is written down with what its attacker was served; `all-attacks.test.ts`, which runs after
 * all others, reads the list. Whoever plays an attacker adds to `loot.bytes` what it gets and must not.
 */

export interface LedgerLine {
  file: string
  name: string
  kind: 'attack' | 'control'
  /** Undefined: declared, and not run (yet). */
  bytesServed?: number
}

/** An attack: a test in which nothing is served. */
export function attackTest(name: string, run: () => unknown, timeoutMs?: number): void {
  ledgerTest('attack', name, run, timeoutMs)
}

/** The same means in the hands of whoever may: is served, so that the attacks fail for the right reason. */
export function controlTest(name: string, run: () => unknown, timeoutMs?: number): void {
  ledgerTest('control', name, run, timeoutMs)
}

function ledgerTest(kind: LedgerLine['kind'], name: string, run: () => unknown, timeoutMs?: number): void {
  writeLine({ kind, name })
  const body = async () => {
    const before = loot.bytes
    try {
      await run()
    } finally {
      writeLine({ kind, name, bytesServed: loot.bytes - before })
    }
    const bytesServed = loot.bytes - before
    if (kind === 'attack') expect({ bytesServed }).toEqual({ bytesServed: 0 })
    else expect(bytesServed).toBeGreaterThan(0)
    loot.bytes = before
  }
  // No second try: an attack that succeeds once has succeeded.
  test(name, { retry: 0, ...(timeoutMs !== undefined && { timeout: timeoutMs }) }, body)
}

function writeLine(line: Omit<LedgerLine, 'file'>): void {
  const file = basename(expect.getState().testPath!)
  appendFileSync(ledgerPath(), `${JSON.stringify({ ...line, file } satisfies LedgerLine)}\n`)
}

export function readLedger(): LedgerLine[] {
  return readFileSync(ledgerPath(), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as LedgerLine)
}

/** Of this run of vitest (vitest.config.ts). */
function ledgerPath(): string {
  const path = process.env.SHOAL_ATTACK_LEDGER
  if (path === undefined) throw new Error('vitest.config.ts sets no SHOAL_ATTACK_LEDGER')
  return path
}
