import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { machineHash } from '../../core/machine-id.ts'

const folder = mkdtempSync(join(tmpdir(), 'shoal-machine-'))
afterAll(() => rmSync(folder, { recursive: true }))
const hashOf = (text: string) => {
  writeFileSync(join(folder, 'machine-id'), text)
  return machineHash(join(folder, 'machine-id'))
}

it('tells machines apart without showing the machine id', () => {
  const [one, other] = ['0123456789abcdef0123456789abcdef', '0123456789abcdef0123456789abcdee']
  expect(hashOf(`${one}\n`)).toMatch(/^[0-9a-f]{32}$/)
  expect(hashOf(`${one}\n`)).toBe(hashOf(one))
  expect(hashOf(one)).not.toBe(hashOf(other))
  expect(hashOf(one)).not.toBe(one)
})

it('knows nothing where there is no machine id', () => {
  expect(['', 'uninitialized\n', 'x'.repeat(32)].map(hashOf)).toEqual([undefined, undefined, undefined])
  expect(machineHash(join(folder, 'absent'))).toBeUndefined()
})
