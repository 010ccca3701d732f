import { readdirSync } from 'node:fs'
import { basename } from 'node:path'
import { expect, test } from 'vitest'
import { missingParts } from '../../lab/machine/requirements.ts'
import { type LedgerLine, readLedger } from './ledger.ts'

/** The last check over all attacks of the run; vitest.config.ts has it run after them. It fails when run alone. */
const ATTACKS_MIN = 35

const keyOf = ({ file, kind, name }: LedgerLine) => `${file}: ${kind}: ${name}`

/** Files whose parts this machine may lack, where that is allowed. */
const lacksOpenssl = missingParts(['openssl']).length > 0
const mayBeSkipped = (file: string) =>
  !process.env.CI &&
  (file.endsWith('.system.test.ts') || (lacksOpenssl && file === 'confined-authority.test.ts'))

test('no attack was served a byte, none was left out, and those who may were served', () => {
  const lines = readLedger()
  const ran = lines.filter(({ bytesServed }) => bytesServed !== undefined)
  const attacks = ran.filter(({ kind }) => kind === 'attack')
  const controls = ran.filter(({ kind }) => kind === 'control')

  const ranKeys = new Set(ran.map(keyOf))
  const leftOut = lines.filter((line) => !ranKeys.has(keyOf(line)) && !mayBeSkipped(line.file))
  expect(leftOut.map(keyOf)).toEqual([])
  const files = readdirSync(import.meta.dirname).filter(
    (name) => name.endsWith('.test.ts') && name !== basename(import.meta.filename),
  )
  const silent = files.filter((name) => !attacks.some(({ file }) => file === name) && !mayBeSkipped(name))
  expect(silent).toEqual([])
  // Two cases of one name would be one line of the list.
  expect(new Set(attacks.map(keyOf)).size).toBe(attacks.length)
  expect(attacks.length).toBeGreaterThanOrEqual(ATTACKS_MIN)

  expect(attacks.filter(({ bytesServed }) => bytesServed !== 0)).toEqual([])
  // What is counted can be counted: the same lines do get bytes where they are due.
  expect(controls.length).toBeGreaterThan(0)
  expect(controls.filter(({ bytesServed }) => !(bytesServed! > 0))).toEqual([])

  const bytesServed = attacks.reduce((sum, attack) => sum + attack.bytesServed!, 0)
  console.log(`${attacks.length} attacks, ${bytesServed} bytes served`)
})
