import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { architectureOfThisMachine, staticProgram } from '../../lab/image/static-program.ts'

test.skipIf(process.platform !== 'linux')(
  'the static program prints its line on this machine and exits with 0',
  () => {
    const dir = mkdtempSync(join(tmpdir(), 'shoal-program-'))
    try {
      const path = join(dir, 'program')
      writeFileSync(path, staticProgram(architectureOfThisMachine(), 'läuft'), { mode: 0o755 })
      expect(execFileSync(path, { encoding: 'utf8' })).toBe('läuft\n')
    } finally {
      rmSync(dir, { recursive: true })
    }
  },
)

test('the program for arm64 is the instructions that the assembler gives', () => {
  const program = staticProgram('arm64', 'hello')
  const code = Array.from({ length: 8 }, (_, index) => program.readUInt32LE(120 + index * 4).toString(16))
  // mov x8,#64; mov x0,#1; adr x1,.+24; mov x2,#6; svc #0; mov x8,#93; mov x0,#0; svc #0
  expect(code).toEqual([
    'd2800808',
    'd2800020',
    '100000c1',
    'd28000c2',
    'd4000001',
    'd2800ba8',
    'd2800000',
    'd4000001',
  ])
  expect(program.readUInt16LE(18)).toBe(183)
  expect(program.subarray(152).toString()).toBe('hello\n')
})

test('a line that the instructions cannot carry is refused', () => {
  expect(() => staticProgram('amd64', '')).toThrow(RangeError)
  expect(() => staticProgram('arm64', 'x'.repeat(5000))).toThrow(RangeError)
})
