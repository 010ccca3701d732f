import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { StateFile } from '../../../client/store/state-file.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-state-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function setUp(name = 'state.json') {
  const path = join(folder, name)
  const now = { text: 'first' }
  const file = new StateFile(path, () => now.text)
  const change = (text: string) => {
    now.text = text
    file.changed()
  }
  const onDisk = () => (existsSync(path) ? readFileSync(path, 'utf8') : undefined)
  return { file, change, onDisk }
}

test('a save begins nothing on the event loop, and ends with the contents on disk', async () => {
  const { file, onDisk } = setUp()
  const saving = file.save()
  expect(onDisk()).toBeUndefined()
  await saving
  expect(onDisk()).toBe('first')
  expect(readdirSync(folder)).toEqual(['state.json'])
})

test('what changes during a write is written after it, once', async () => {
  const { file, change, onDisk } = setUp()
  const saving = file.save()
  for (const text of ['second', 'third']) {
    change(text)
    void file.save()
  }
  await saving
  expect(onDisk()).toBe('third')
})

test('the last contents stay, whatever was being written when they were saved', async () => {
  for (let round = 0; round < 50; round++) {
    const { file, change, onDisk } = setUp(`${round}.json`)
    void file.save()
    change('second')
    if (round % 2 === 0) void file.save()
    for (let turn = 0; turn < round % 7; turn++) await new Promise(setImmediate)
    change('last')
    await file.saveLast()
    expect(onDisk()).toBe('last')
    change('too late')
    await file.save()
    expect(onDisk()).toBe('last')
  }
})

test('without a write in flight the last contents are there when the call returns', () => {
  const { file, onDisk } = setUp()
  void file.saveLast()
  expect(onDisk()).toBe('first')
})

test('after the end nothing is written: the folder can be removed', async () => {
  for (let round = 0; round < 50; round++) {
    const inside = join(folder, `${round}`)
    mkdirSync(inside)
    const { file, change } = setUp(`${round}/state.json`)
    void file.save()
    for (let turn = 0; turn < round % 7; turn++) await new Promise(setImmediate)
    change('second')
    void file.save()
    await file.end()
    await rm(inside, { recursive: true })
    mkdirSync(inside)
    await new Promise(setImmediate)
    expect(readdirSync(inside)).toEqual([])
  }
})

test('contents that the disk refused are written with the next save', async () => {
  const { file, onDisk } = setUp('later/state.json')
  await file.save()
  expect(onDisk()).toBeUndefined()
  mkdirSync(join(folder, 'later'))
  await file.save()
  expect(onDisk()).toBe('first')
})
