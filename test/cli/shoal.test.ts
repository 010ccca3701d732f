import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { runShoal } from './run-shoal.ts'

const folder = mkdtempSync(join(tmpdir(), 'shoal-command-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const NODE = [
  ...['node', '--tracker-url', 'https://127.0.0.1:1', '--docker-certs-dir', 'none'],
  ...['--data-dir', join(folder, 'data')],
]

/** One line says what failed, one what to do. */
const TWO_LINES = /^shoal: [^\n]+\nhint: [^\n]+\n$/

describe('shoal', () => {
  it('lists its commands', async () => {
    const { code, stdout } = await runShoal(['--help'])
    expect(code).toBe(0)
    for (const name of ['node', 'tracker', 'up', 'certs', 'admin']) expect(stdout).toContain(`\n  ${name} `)
  })

  it('prints its version', async () => {
    for (const name of ['version', '--version']) {
      expect((await runShoal([name])).stdout).toMatch(/^shoal \d+\.\d+\.\d+\n$/)
    }
  })

  it.each(['node', 'tracker', 'up', 'certs', 'admin'])('explains %s', async (program) => {
    const { code, stdout } = await runShoal([program, '--help'])
    expect(code).toBe(0)
    expect(stdout).toContain('Usage: shoal')
  })

  it('ends with 2 without a command, and prints nothing on standard output', async () => {
    expect(await runShoal([])).toMatchObject({ code: 2, stdout: '' })
  })
})

describe('a wrong start ends with 2, what is wrong, and a hint', () => {
  it.each([
    ['an unknown command', ['trackr'], 'Did you mean shoal tracker?'],
    ['an unknown flag', [...NODE, '--peer-lsten', 'x'], 'Did you mean --peer-listen?'],
    ['a missing setting', ['tracker'], '--tls-cert-file'],
    ['a bad address', [...NODE, '--peer-listen', 'nowhere'], 'other nodes reach'],
    ['a tracker without TLS', ['node', '--tracker-url', 'http://tracker'], 'tracker'],
    ['a secret that is not there', [...NODE, '--join-token-file', join(folder, 'absent')], 'no such file'],
  ])('%s', async (_what, argv, hint) => {
    const { code, stdout, stderr } = await runShoal(argv)
    expect(stderr).toMatch(TWO_LINES)
    expect(stderr).toContain(hint)
    expect(stdout).toBe('')
    expect(code).toBe(2)
  })

  it('an unknown environment variable', async () => {
    const { code, stderr } = await runShoal(NODE, { env: { SHOAL_NODE_DATADIR: '/x' } })
    expect(stderr).toBe(
      'shoal: unknown setting: environment variable SHOAL_NODE_DATADIR\nhint: Did you mean SHOAL_NODE_DATA_DIR?\n',
    )
    expect(code).toBe(2)
  })

  it('an unknown key in the file', async () => {
    const file = join(folder, 'node.json')
    writeFileSync(file, JSON.stringify({ trackerURL: 'https://127.0.0.1:1' }))
    const { code, stderr } = await runShoal(['node', '--config-file', file])
    expect(stderr).toContain('Did you mean trackerUrl?')
    expect(code).toBe(2)
  })
})
