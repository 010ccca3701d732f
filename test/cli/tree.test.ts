import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { exitsOf, findEntry, isGroup, namesOf, oldNamesIn, placedIn } from '../../cli/command-tree.ts'
import { helpText } from '../../cli/help.ts'
import { TREE } from '../../cli/tree.ts'
import { flagsOf } from './flags-of.ts'
import { runShoal } from './run-shoal.ts'

const folder = mkdtempSync(join(tmpdir(), 'shoal-tree-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const all = placedIn(TREE).map((placed) => ({ ...placed, name: placed.path.join(' ') }))
const programs = all.filter(({ entry }) => entry.program !== undefined)
const olds = oldNamesIn(TREE)

describe('the tree of commands', () => {
  it('has what operators are told of', () => {
    expect(all.length).toBeGreaterThan(20)
    expect(all.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['shoal up', 'shoal tracker unlock', 'shoal admin cluster create']),
    )
  })

  it.each(all)('explains $name with a summary, an example and exit codes, in 100 columns', async (placed) => {
    expect(placed.entry.summary).toMatch(/^[A-Z].*[.]$/)
    const help = await helpText(placed)
    expect(help).toContain(`Usage: ${placed.name}`)
    expect(help).toContain(placed.entry.examples[0]!.line)
    expect(help).toMatch(/^Exit codes:\n {2}0 {2}\w/m)
    for (const { code, meaning } of exitsOf(placed.entry))
      expect(help).toContain(`\n  ${code}  ${meaning.split(' ')[0]}`)
    expect(Math.max(...help.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100)
    for (const flag of await flagsOf(placed)) expect(help).toContain(`\n  ${flag}`)
    for (const child of placed.entry.children ?? []) expect(help).toContain(`\n  ${child.name} `)
  })

  it.each(all)('explains $name in 60 columns too, where no word is longer', async (placed) => {
    const help = await helpText(placed, { columns: 60, isColoured: false })
    const long = help.split('\n').filter((line) => line.length > 60)
    // Command lines are not cut: whoever copies one needs it whole.
    expect(long.filter((line) => /^ {6}\S+ \S/.test(line))).toEqual([])
  })

  it('says how a program ends that is told to stop, and that a mistake in the call is 2', () => {
    for (const { entry, name } of all) {
      const exits = Object.fromEntries(exitsOf(entry).map(({ code, meaning }) => [code, meaning]))
      expect(Object.keys(exits).slice(0, 3), name).toEqual(['0', '1', '2'])
      if (entry.program !== undefined) expect(exits[0], name).toContain('stopped')
    }
  })

  it('runs, groups, or both; nothing is both program and command', () => {
    for (const { entry, name } of all) {
      expect(entry.program !== undefined && entry.command !== undefined, name).toBe(false)
      expect(isGroup(entry) && (entry.children ?? []).length === 0, name).toBe(false)
    }
  })

  it('calls no two things alike', () => {
    for (const { entry, name } of all) {
      const names = (entry.children ?? []).flatMap(namesOf)
      expect(new Set(names).size, name).toBe(names.length)
    }
  })

  it('shows examples that it understands', async () => {
    for (const { entry } of all) {
      for (const { line } of entry.examples) {
        const [shoal, ...words] = line.split(/ [<>] /)[0]!.split(' ')
        expect(shoal).toBe('shoal')
        const found = findEntry(TREE, words)
        expect(found.oldName, line).toBeUndefined()
        expect(isGroup(found.entry), line).toBe(false)
        const known = await flagsOf(found)
        // What follows `--` alone is for another program.
        const [own = ''] = ` ${found.rest.join(' ')} `.split(' -- ')
        const used = own.split(' ').filter((word) => word.startsWith('--'))
        expect(
          used.filter((flag) => !known.includes(flag)),
          line,
        ).toEqual([])
      }
    }
  })
})

describe('old names', () => {
  it.each([
    ['certs cluster', 'admin cluster create'],
    ['certs join-token', 'admin token rotate'],
    ['certs rotate authority', 'admin key rotate authority'],
    ['certs rotate-authority', 'admin key rotate authority'],
    ['certs rotate signing-key', 'admin key rotate signing-key'],
    ['certs rotate admin', 'admin key rotate admin'],
    ['certs admin-certificate', 'admin certificate'],
    ['certs reseal', 'admin reseal'],
    ['certs token-keys', 'admin key trusted'],
    ['certs unlock', 'tracker unlock'],
  ])('%s is %s, with what follows it', (oldName, newName) => {
    const found = findEntry(TREE, [...oldName.split(' '), 'main', '--force'])
    expect(found.path.join(' ')).toBe(`shoal ${newName}`)
    expect(found).toMatchObject({ oldName: `shoal ${oldName}`, rest: ['main', '--force'] })
  })

  it('are no names of today', () => {
    const today = new Set(all.map(({ name }) => name))
    expect(olds.length).toBeGreaterThan(5)
    expect(olds.filter(({ oldName }) => today.has(`shoal ${oldName}`))).toEqual([])
  })

  it('run, and say the new one in a line on standard error', async () => {
    const { code, stdout, stderr } = await runShoal(['certs', 'token-keys', '--help'])
    expect(stdout).toContain('Usage: shoal admin key trusted')
    expect(stderr).toBe('shoal: `shoal certs token-keys` is now `shoal admin key trusted`\n')
    expect(code).toBe(0)
  })
})

describe('words that name nothing', () => {
  it.each([
    [['trackr'], 'Did you mean shoal tracker?'],
    [['tracker', 'unlok'], 'Did you mean shoal tracker unlock?'],
    [['admin', 'key', 'rotate', 'autority'], 'Did you mean shoal admin key rotate authority?'],
    [['certs', 'clustr'], 'Did you mean shoal admin cluster create?'],
    [['unlock'], 'Did you mean shoal tracker unlock?'],
    [['frobnicate'], 'shoal --help lists the commands.'],
    [['admin', '--frobnicate'], 'See shoal admin --help.'],
  ])('%j: %s', (argv, hint) => {
    expect(() => findEntry(TREE, argv)).toThrow(expect.objectContaining({ code: 'USAGE', hint }))
  })
})

describe('help', () => {
  it.each([
    ['help', 'certs', 'inspect'],
    ['certs', 'help', 'inspect'],
    ['certs', 'inspect', '--help'],
    ['certs', 'inspect', '-h'],
  ])('%s %s %s', (...argv) => {
    expect(findEntry(TREE, argv)).toMatchObject({
      path: ['shoal', 'certs', 'inspect'],
      isHelpWanted: true,
    })
  })

  it('is not what a file is called', () => {
    expect(findEntry(TREE, ['certs', 'inspect', '--', '-h'])).toMatchObject({ isHelpWanted: false })
  })
})

describe('a start', () => {
  it('is a lean one for every program that runs on, and for nothing else', () => {
    const lean = readFileSync(new URL('../../bin/lean.js', import.meta.url), 'utf8')
    const named = /const isShort = !(\[[^\]]*\])/.exec(lean)?.[1]?.match(/\w+/g)
    expect(named?.sort()).toEqual(programs.map(({ entry }) => entry.name).sort())
  })

  it('of a node loads nothing of the tracker, of the tool or of other commands', () => {
    const loaded = modulesLoadedBy([
      ...['node', '--tracker-url', 'https://127.0.0.1:1', '--docker-certs-dir', 'none'],
      ...['--data-dir', join(folder, 'node'), '--proxy-listen', '127.0.0.1:0'],
      // Ends at once, and not before everything is loaded.
      ...['--join-token-file', join(folder, 'absent')],
    ])
    expect(loaded.some((path) => path.endsWith('/node/main.ts'))).toBe(true)
    const foreign =
      /\/(tracker|certs-tool)\/|\/cli\/(attach\/|up|help|run-command|completion)|\/core\/command\.ts|fastify/
    expect(loaded.filter((path) => foreign.test(path))).toEqual([])
  })

  it('of a tool loads no program', () => {
    const loaded = modulesLoadedBy(['certs', 'unlock-key', '--out', join(folder, 'unlock.key')])
    expect(loaded.some((path) => path.endsWith('/certs-tool/commands/unlock-key.ts'))).toBe(true)
    expect(
      loaded.filter((path) => /\/(node|tracker|proxy|client)\/[a-z-]+\.ts|\/node_modules\//.test(path)),
    ).toEqual([])
  })
})

/** Paths within the repository, and of packages. */
function modulesLoadedBy(argv: string[]): string[] {
  const list = join(folder, `modules-${argv[0]}`)
  const hook = fileURLToPath(new URL('loaded-modules.ts', import.meta.url))
  const shoal = fileURLToPath(new URL('../../bin/shoal.js', import.meta.url))
  const root = fileURLToPath(new URL('../..', import.meta.url))
  const env = { ...process.env, LOADED_MODULES: list }
  spawnSync(process.execPath, ['--import', hook, shoal, ...argv], { env, timeout: 30_000 })
  const urls = readFileSync(list, 'utf8').trim().split('\n')
  return urls
    .filter((url) => url.startsWith('file:'))
    .map((url) => fileURLToPath(url).replace(root, '/'))
    .filter((path) => path !== '/test/cli/loaded-modules.ts')
}
