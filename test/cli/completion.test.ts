import { spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { oldNamesIn, placedIn } from '../../cli/command-tree.ts'
import { completionCommand } from '../../cli/completion.ts'
import { TREE } from '../../cli/tree.ts'
import { runShoal } from './run-shoal.ts'

const scriptOf = (shell: string) => completionCommand(TREE).run({}, [shell])
const isInstalled = (shell: string) => spawnSync(shell, ['--version']).status === 0
const places = placedIn(TREE)

describe.each(['bash', 'zsh', 'fish'])('completion of %s', (shell) => {
  it('knows every command and its flags, and no old name', async () => {
    const script = await scriptOf(shell)
    for (const { entry, path } of places) {
      expect(script).toContain(path.join(' '))
      for (const flag of Object.keys((await entry.command?.())?.flags ?? {})) expect(script).toContain(flag)
    }
    for (const { oldName } of oldNamesIn(TREE)) expect(script).not.toContain(`'shoal ${oldName}'`)
    for (const flag of ['tracker-url', 'unlock-key-file', 'config-file']) expect(script).toContain(flag)
  })

  it.runIf(isInstalled(shell))('is a script that the shell can read', async () => {
    const { status, stderr } = spawnSync(shell, ['-n'], { input: await scriptOf(shell), encoding: 'utf8' })
    expect(stderr).toBe('')
    expect(status).toBe(0)
  })
})

describe.runIf(isInstalled('bash'))('in bash', () => {
  const completed = async (...words: string[]) => {
    const ask = `COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shoal; printf '%s\\n' "\${COMPREPLY[@]}"`
    const script = `${await scriptOf('bash')}\n${ask}`
    const { stdout } = spawnSync('bash', ['-c', script, 'bash', ...words], { encoding: 'utf8' })
    return stdout.trim().split('\n')
  }

  it.each([
    [
      ['shoal', ''],
      ['up', 'node', 'tracker', 'admin', 'certs', 'completion', 'version'],
    ],
    [['shoal', 'ad'], ['admin']],
    [
      ['shoal', 'admin', 'key', 'rotate', ''],
      ['authority', 'signing-key', 'admin'],
    ],
    [['shoal', 'tracker', ''], ['unlock']],
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

it('of a shell that it does not know names those that it does', async () => {
  const { code, stderr } = await runShoal(['completion', 'powershell'])
  expect(stderr).toContain('hint: There is: bash, zsh, fish.')
  expect(code).toBe(2)
})
