import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { oldNamesIn, placedIn } from '../../cli/command-tree.ts'
import { completionCommand } from '../../cli/completion.ts'
import { outsideOf } from '../../cli/outside.ts'
import { TREE } from '../../cli/tree.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { flagsOf } from './flags-of.ts'
import { runShoal } from './run-shoal.ts'

const folder = mkdtempSync(join(tmpdir(), 'shoal-completion-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const scriptOf = (shell: string) => completionCommand(TREE).run({}, [shell], outsideOf(process))
/** The script in a file. */
async function fileOf(shell: string): Promise<string> {
  const path = join(folder, shell)
  writeFileSync(path, await scriptOf(shell))
  return path
}
const lacks = (shell: string) => shell !== 'bash' && mustSkipFor([shell as 'zsh' | 'fish'])
const places = placedIn(TREE)

describe.each(['bash', 'zsh', 'fish'])('completion of %s', (shell) => {
  it('knows every command and its flags, and no old name', async () => {
    const script = await scriptOf(shell)
    for (const place of places) {
      expect(script).toContain(place.path.join(' '))
      for (const flag of await flagsOf(place)) expect(script).toContain(flag.slice(2))
    }
    for (const { oldName } of oldNamesIn(TREE)) expect(script).not.toContain(`'shoal ${oldName}'`)
  })

  it.skipIf(lacks(shell))('is a script that the shell can read', async () => {
    const { status, stderr } = spawnSync(shell, ['-n', await fileOf(shell)], { encoding: 'utf8' })
    expect(stderr).toBe('')
    expect(status).toBe(0)
  })
})

describe('in bash', () => {
  const completed = async (...words: string[]) => {
    const ask = `COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shoal; printf '%s\\n' "\${COMPREPLY[@]}"`
    const script = `${await scriptOf('bash')}\n${ask}`
    const { stdout } = spawnSync('bash', ['-c', script, 'bash', ...words], { encoding: 'utf8' })
    return stdout.trim().split('\n')
  }

  it.each([
    [
      ['shoal', ''],
      [
        ...[
          'up',
          'join',
          'leave',
          'status',
          'explain',
          'wait',
          'bugreport',
          'node',
          'guard',
          'relay',
          'owners',
        ],
        ...['pause', 'resume', 'reload', 'cache', 'attach', 'detach'],
        ...['doctor', 'tracker', 'admin', 'certs', 'completion', 'version'],
      ],
    ],
    [['shoal', 'ad'], ['admin']],
    [
      ['shoal', 'admin', 'key', 'rotate', ''],
      ['authority', 'signing-key', 'admin'],
    ],
    [
      ['shoal', 'tracker', ''],
      ['init', 'renew', 'migrate', 'export', 'import', 'backup', 'restore', 'confirm-restore', 'unlock'],
    ],
    [['shoal', 'tracker', '--unl'], ['--unlock-key-file']],
    [['shoal', 'tracker', 'unlock', '--unl'], ['--unlock-key-file']],
    [['shoal', 'node', '--log-level', 'w'], ['warn']],
    [['shoal', 'node', '--log-level', 'info', '--tracker-u'], ['--tracker-url']],
    [['shoal', 'node', '--tracker-url', ''], ['']],
    [
      ['shoal', 'completion', ''],
      ['bash', 'zsh', 'fish'],
    ],
  ])('%j gives %j', async (words, expected) => {
    expect(await completed(...words)).toEqual(expected)
  })
})

it('in bash offers at every place its own commands and flags, and no others', async () => {
  const asked = places.flatMap(({ path }) => [`${path.join(' ')} `, `${path.join(' ')} --`])
  const ask = `while IFS= read -r line; do
    read -ra COMP_WORDS <<< "$line"; [[ $line == *' ' ]] && COMP_WORDS+=('')
    COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _shoal; echo "\${COMPREPLY[*]}"
  done`
  const script = `${await scriptOf('bash')}\n${ask}`
  const { stdout } = spawnSync('bash', ['-c', script], { input: `${asked.join('\n')}\n`, encoding: 'utf8' })
  const answers = stdout.trimEnd().split('\n')
  for (const [index, placed] of places.entries()) {
    const { entry, path } = placed
    const name = path.join(' ')
    const children = (entry.children ?? []).map((child) => child.name)
    const shells = name === 'shoal completion' ? ['bash', 'zsh', 'fish'] : []
    expect(answers[index * 2], name).toBe([...children, ...shells].join(' '))
    expect(answers[index * 2 + 1], name).toBe([...(await flagsOf(placed)), '--help'].join(' '))
  }
})

it.skipIf(lacks('zsh')).each([
  [
    ['shoal', 'tracker', ''],
    ['init', 'renew', 'migrate', 'export', 'import', 'backup', 'restore', 'confirm-restore', 'unlock'],
  ],
  [
    ['shoal', 'admin', 'key', 'rotate', ''],
    ['authority', 'signing-key', 'admin'],
  ],
  [
    ['shoal', 'node', '--log-level', ''],
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
  ],
  [['shoal', 'certs', 'inspect', ''], ['a file']],
  [
    ['shoal', 'pause', '--'],
    ['--data-dir', '--help'],
  ],
])('in zsh %j gives %j', async (words, expected) => {
  // What zsh's own functions are told, which then draw the list.
  const heard = `compdef() {}; _files() { print 'a file' }; compadd() { shift; print -l -- "$@" }
_describe() { print -l -- "\${(@P)@[-1]}" }`
  const ask = `${heard}; source ${await fileOf('zsh')}; words=("$@"); CURRENT=$#; _shoal`
  const { stdout, stderr } = spawnSync('zsh', ['-f', '-c', ask, 'zsh', ...words], { encoding: 'utf8' })
  expect(stderr).toBe('')
  const offered = stdout.trim().split('\n')
  expect(offered.map((one) => one.split(':')[0])).toEqual(expect.arrayContaining(expected))
  expect(offered).not.toContain('')
})

it.skipIf(lacks('fish')).each([
  [
    'shoal tracker ',
    ['backup', 'confirm-restore', 'export', 'import', 'init', 'migrate', 'renew', 'restore', 'unlock'],
  ],
  ['shoal admin key rotate ', ['admin', 'authority', 'signing-key']],
  ['shoal node --log-level w', ['warn']],
  ['shoal tracker unlock --unl', ['--unlock-key-file']],
])('in fish %j gives %j', async (line, expected) => {
  const ask = `source ${await fileOf('fish')}; complete -C '${line}'`
  const { stdout } = spawnSync('fish', ['--no-config', '-c', ask], { encoding: 'utf8' })
  const words = stdout
    .trim()
    .split('\n')
    .map((one) => one.split('\t')[0])
  expect(words).toEqual(expected)
})

it('of a shell that it does not know names those that it does', async () => {
  const { code, stderr } = await runShoal(['completion', 'powershell'])
  expect(stderr).toContain('hint: There is: bash, zsh, fish.')
  expect(code).toBe(2)
})
