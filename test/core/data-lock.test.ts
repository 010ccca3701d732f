import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { lockDataDir, lockOwner } from '../../core/data-lock.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-lock-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

test('a folder that a living process has is refused', () => {
  // Process 1 lives as long as the machine.
  const { readFileSync } = process.getBuiltinModule('node:fs')
  const stat = readFileSync('/proc/1/stat', 'utf8')
  const startTicks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  writeFileSync(join(folder, 'lock'), `1 ${startTicks}`)
  expect(() => lockDataDir(folder)).toThrow(expect.objectContaining({ code: 'CONFIG' }))
})

test('a folder whose owner is gone is taken over, also when its process id lives on as another process', () => {
  writeFileSync(join(folder, 'lock'), '1 0')
  lockDataDir(folder)()
  expect(readdirSync(folder)).toEqual([])
})

test.each(['', '-1', '-1 ', '0 1', 'undefined undefined', '1'])(
  '%j names no process that could be ended',
  (text) => {
    writeFileSync(join(folder, 'lock'), text)
    expect(lockOwner(folder)).toBe(undefined)
    lockDataDir(folder)()
  },
)
