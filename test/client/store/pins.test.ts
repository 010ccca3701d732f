import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Pins } from '../../../client/store/pins.ts'
import { digestFromHex } from '../../../core/digest.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-pins-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const path = () => join(folder, 'pins.json')
const digest = (digit: string) => digestFromHex(digit.repeat(64))
const image = (name: string, ...digits: string[]) => ({
  name,
  blobs: digits.map((digit) => ({ digest: digest(digit), bytes: 100 })),
})

it('keeps pins for the next start', () => {
  const pins = new Pins(path())
  pins.add(image('registry.example/app:v1', '1', '2'), 1000)
  const again = new Pins(path())
  expect(again.list()).toEqual(pins.list())
  expect([digest('1'), digest('3')].map((one) => again.has(one))).toEqual([true, false])
})

it('counts a blob of two images once, and keeps it until the second is unpinned', () => {
  const pins = new Pins(path())
  pins.add(image('one', '1', '2'), 1000)
  pins.add(image('two', '2', '3'), 1000)
  expect(pins.bytes).toBe(300)
  expect(pins.remove('one')).toBe(true)
  expect([digest('1'), digest('2')].map((one) => pins.has(one))).toEqual([false, true])
  expect(pins.remove('one')).toBe(false)
})

it('refuses a pin beyond the room of the cache, and changes nothing', () => {
  const pins = new Pins(path())
  pins.add(image('one', '1', '2'), 300)
  expect(() => pins.add(image('two', '3', '4'), 300)).toThrow(expect.objectContaining({ code: 'CACHE_PINS' }))
  expect(pins.list().map(({ name }) => name)).toEqual(['one'])
  expect(new Pins(path()).bytes).toBe(200)
})

it('begins anew, and says so, where the file is damaged', () => {
  writeFileSync(path(), '{"version":1,"pins":[{"name":"x"}]}')
  const pins = new Pins(path())
  expect(pins).toMatchObject({ isDamaged: true, bytes: 0 })
})
