import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { checkOwnFiles, ensureFolder, readOwnFile, replaceFile } from '../../core/data-folder.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'

const NOBODY = 65534
const REFUSED = expect.objectContaining({ code: 'DATA_FOLDER', hint: expect.any(String) })

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-folder-'))
})
afterEach(() => rmSync(folder, { recursive: true }))
const inFolder = (...names: string[]) => join(folder, ...names)

describe('a folder', () => {
  test('is made for its owner alone, and those above it too', () => {
    expect(ensureFolder(inFolder('a', 'b'))).toEqual([inFolder('a'), inFolder('a', 'b')])
    for (const path of [inFolder('a'), inFolder('a', 'b')]) expect(lstatSync(path).mode & 0o777).toBe(0o700)
    expect(ensureFolder(inFolder('a', 'b'))).toEqual([])
  })

  test('may be read by others', () => {
    mkdirSync(inFolder('a'), { mode: 0o755 })
    expect(ensureFolder(inFolder('a'))).toEqual([])
  })

  test.each(['770', '777', '1777', '2775'])('that others may write to (%s) is refused', (mode) => {
    mkdirSync(inFolder('a'))
    chmodSync(inFolder('a'), Number.parseInt(mode, 8))
    expect(() => ensureFolder(inFolder('a'))).toThrow(REFUSED)
  })

  test('is refused below one that everybody may write to, unless that is sticky', () => {
    mkdirSync(inFolder('open', 'data'), { recursive: true, mode: 0o700 })
    chmodSync(inFolder('open'), 0o777)
    expect(() => ensureFolder(inFolder('open', 'data'))).toThrow(REFUSED)
    chmodSync(inFolder('open'), 0o1777)
    expect(ensureFolder(inFolder('open', 'data'))).toEqual([])
  })

  test('of a group that an administrator trusts is taken where that is said', () => {
    mkdirSync(inFolder('a'))
    chmodSync(inFolder('a'), 0o775)
    expect(ensureFolder(inFolder('a'), { isGroupTrusted: true })).toEqual([])
    chmodSync(inFolder('a'), 0o777)
    expect(() => ensureFolder(inFolder('a'), { isGroupTrusted: true })).toThrow(REFUSED)
  })

  test('may be reached through links of its own user or root, as systemd makes one for DynamicUser=', () => {
    mkdirSync(inFolder('private', 'shoal'), { recursive: true, mode: 0o700 })
    symlinkSync('private/shoal', inFolder('relative'))
    symlinkSync(inFolder('relative'), inFolder('absolute'))
    expect(ensureFolder(inFolder('absolute', 'made'))).toEqual([inFolder('private', 'shoal', 'made')])
    expect(ensureFolder(inFolder('absolute'))).toEqual([])
  })

  test('inside a data folder is never a link', () => {
    mkdirSync(inFolder('elsewhere'), { mode: 0o700 })
    symlinkSync('elsewhere', inFolder('blobs'))
    expect(() => ensureFolder(inFolder('blobs'), { isPart: true })).toThrow(REFUSED)
  })

  test('that is a loop of links is refused', () => {
    symlinkSync('b', inFolder('a'))
    symlinkSync('a', inFolder('b'))
    expect(() => ensureFolder(inFolder('a'))).toThrow(REFUSED)
  })

  test('that is a file is refused', () => {
    writeFileSync(inFolder('a'), '')
    expect(() => ensureFolder(inFolder('a'))).toThrow(REFUSED)
  })

  describe.skipIf(mustSkipFor(['root']))('of another user', () => {
    test.each(['data', 'parent'])('(%s) is refused', (whose) => {
      mkdirSync(inFolder('parent', 'data'), { recursive: true, mode: 0o755 })
      chownSync(whose === 'data' ? inFolder('parent', 'data') : inFolder('parent'), NOBODY, NOBODY)
      expect(() => ensureFolder(inFolder('parent', 'data'))).toThrow(REFUSED)
    })

    test('is not made in: nothing of the path is touched', () => {
      mkdirSync(inFolder('parent'))
      chownSync(inFolder('parent'), NOBODY, NOBODY)
      expect(() => ensureFolder(inFolder('parent', 'data'))).toThrow(REFUSED)
      expect(readdirSync(inFolder('parent'))).toEqual([])
    })

    test('is refused behind a link that he made in a sticky folder', () => {
      mkdirSync(inFolder('victim'), { mode: 0o700 })
      mkdirSync(inFolder('tmp'))
      chmodSync(inFolder('tmp'), 0o1777)
      symlinkSync(inFolder('victim'), inFolder('tmp', 'data'))
      expect(ensureFolder(inFolder('tmp', 'data'))).toEqual([])
      lchownSync(inFolder('tmp', 'data'), NOBODY, NOBODY)
      expect(() => ensureFolder(inFolder('tmp', 'data'))).toThrow(REFUSED)
      expect(() => ensureFolder(inFolder('tmp', 'data', 'made'))).toThrow(REFUSED)
      expect(readdirSync(inFolder('victim'))).toEqual([])
    })
  })
})

describe('a file', () => {
  test('is written whole, for its owner alone, whatever the umask', () => {
    const umask = process.umask(0)
    replaceFile(inFolder('a'), 'text')
    process.umask(umask)
    expect(lstatSync(inFolder('a')).mode & 0o777).toBe(0o600)
    expect(readOwnFile(inFolder('a'))).toBe('text')
    expect(readdirSync(folder)).toEqual(['a'])
    expect(readOwnFile(inFolder('b'))).toBe(undefined)
  })

  test('that others are to read can be read by them, whatever the umask', () => {
    const umask = process.umask(0o077)
    replaceFile(inFolder('a'), 'text', 0o644)
    process.umask(umask)
    expect(lstatSync(inFolder('a')).mode & 0o777).toBe(0o644)
  })

  test.each(['a', 'a.new'])(
    'takes the place of a link (%s), and what that leads to stays as it is',
    (name) => {
      writeFileSync(inFolder('victim'), 'important')
      symlinkSync('victim', inFolder(name))
      replaceFile(inFolder('a'), 'text')
      expect(readFileSync(inFolder('victim'), 'utf8')).toBe('important')
      expect(lstatSync(inFolder('a')).isFile()).toBe(true)
      expect(readOwnFile(inFolder('a'))).toBe('text')
    },
  )

  test('takes the place of a second name of a file, and the file stays as it is', () => {
    writeFileSync(inFolder('victim'), 'important')
    for (const name of ['a', 'a.new']) linkSync(inFolder('victim'), inFolder(name))
    replaceFile(inFolder('a'), 'text')
    expect(readFileSync(inFolder('victim'), 'utf8')).toBe('important')
  })

  test('that is a link, a second name, a folder or a pipe is not read', () => {
    writeFileSync(inFolder('victim'), 'important')
    symlinkSync('victim', inFolder('link'))
    symlinkSync('nowhere', inFolder('dangling'))
    mkdirSync(inFolder('folder'))
    execFileSync('mkfifo', [inFolder('pipe')])
    for (const name of ['link', 'dangling', 'folder', 'pipe']) {
      expect(() => readOwnFile(inFolder(name))).toThrow(REFUSED)
      expect(() => checkOwnFiles([inFolder(name)])).toThrow(REFUSED)
    }
    linkSync(inFolder('victim'), inFolder('second'))
    expect(() => readOwnFile(inFolder('second'))).toThrow(REFUSED)
    expect(existsSync(inFolder('nowhere'))).toBe(false)
  })

  test.skipIf(mustSkipFor(['root']))('of another user is not read', () => {
    writeFileSync(inFolder('a'), 'planted')
    chownSync(inFolder('a'), NOBODY, NOBODY)
    expect(() => readOwnFile(inFolder('a'))).toThrow(REFUSED)
  })
})
