import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { trackerBackupCommand, trackerRestoreCommand } from '../../cli/membership/tracker-dump.ts'
import { outsideOf } from '../../cli/outside.ts'
import { runCommand } from '../../cli/run-command.ts'
import { startWorld, type World } from '../tracker/test-tracker.ts'

/** Files of `shoal tracker backup` and `restore`. */

let world: World
let folder: string
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-dump-'))
  world = await startWorld()
})
afterAll(async () => {
  await world.close()
  rmSync(folder, { recursive: true })
})

const at = (name: string) => join(folder, name)
const run = (command: typeof trackerBackupCommand, file: string, dataDir: string) =>
  runCommand(['shoal'], command, [file, `--data-dir=${dataDir}`], outsideOf(process))

it('a backup replaces no file', async () => {
  writeFileSync(at('taken'), 'mine')
  await expect(run(trackerBackupCommand, at('taken'), world.dataDir)).rejects.toMatchObject({
    code: 'FILE_EXISTS',
  })
  expect(readFileSync(at('taken'), 'utf8')).toBe('mine')
})

it('a backup into a folder that is not there, and one that is not there, are refused in words', async () => {
  await expect(run(trackerBackupCommand, at('no/file'), world.dataDir)).rejects.toMatchObject({
    code: 'FILE_ACCESS',
  })
  await expect(run(trackerRestoreCommand, at('none'), at('new'))).rejects.toMatchObject({
    code: 'FILE_ACCESS',
  })
})

it('a backup is restored into an empty store only', async () => {
  await run(trackerBackupCommand, at('backup'), world.dataDir)
  expect(await run(trackerRestoreCommand, at('backup'), at('store'))).toContain('confirm-restore')
  await expect(run(trackerRestoreCommand, at('backup'), at('store'))).rejects.toMatchObject({
    hint: expect.stringContaining('empty'),
  })
})
