import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { profileAccess } from '../../certs-tool/admin-profile.ts'
import { findEntry } from '../../cli/command-tree.ts'
import { runCommand } from '../../cli/run-command.ts'
import { TREE } from '../../cli/tree.ts'
import { isAtLeast } from '../../core/admin-api/call.ts'
import { CALL_NAMES, callOf } from '../../core/admin-api/calls.ts'
import type { Outside } from '../../core/command.ts'
import { type AdminWorld, startAdminWorld } from '../tracker/admin-world.ts'
import type { TestCluster, TestNode } from '../tracker/test-tracker.ts'

/** The commands that are made from the table of calls, against a running tracker. */

let world: AdminWorld
let folder: string
let cluster: TestCluster
let node: TestNode
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-admin-'))
  world = await startAdminWorld()
  cluster = await world.makeCluster('main')
  node = await world.joined(cluster)
  expect((await node.pull()).status).toBe(200)
  const { ca } = await world.adminIdentity()
  write('ca.crt', ca)
  for (const [role, token] of Object.entries(world.tokens)) write(`${role}.token`, token)
})
afterAll(async () => {
  await world.close()
  rmSync(folder, { recursive: true })
})

function write(name: string, content: string): void {
  writeFileSync(join(folder, name), content, { mode: 0o600 })
}

const output = {
  isTerminal: false,
  columns: 100,
  rows: 1000,
  write: () => undefined,
  onResize: () => () => undefined,
}
const outside: Outside = { env: {}, output, stopped: () => AbortSignal.abort(), exitWith: () => undefined }

async function run(line: string, columns = 100): Promise<string> {
  const { entry, path, rest } = findEntry(TREE, line.split(' ').slice(1))
  return runCommand(path, await entry.command!(), rest, { ...outside, output: { ...output, columns } })
}

const local = () => `--data-dir ${world.dataDir}`
const remote = (role: string) =>
  `--admin-url https://localhost:${world.tracker.adminAddress.port} --admin-ca-file ${join(folder, 'ca.crt')} --admin-token-file ${join(folder, `${role}.token`)}`

/** Arguments for the commands that need some; other commands need none. */
const ARGUMENTS: Record<string, () => Promise<string> | string> = {
  'shoal admin node inspect': () => node.node.slice(0, 12),
  'shoal admin node label': () => `${node.node.slice(0, 12)} zone=a`,
  'shoal admin node drain': () => node.node,
  'shoal admin node undrain': () => node.node,
  'shoal admin node pause': () => node.node,
  'shoal admin node resume': () => node.node,
  'shoal admin image inspect': () => `${world.registry.host}/team/app:v1`,
  'shoal admin image blob': async () => (await world.socket('swarms.list', {})).body.swarms[0].swarm,
  'shoal admin pull inspect': async () => (await world.socket('pulls.list', {})).body.pulls[0].pull,
  'shoal admin pull revoke': async () => (await world.socket('pulls.list', {})).body.pulls[0].pull,
  'shoal admin node reinstate': async () =>
    (await world.socket('revocations.list', {})).body.revocations[0].sequence,
  'shoal admin node revoke': () => node.node,
  'shoal admin node forget': () => node.node,
}
/** Commands with flags and files of their own; test/certs-tool and test/tracker have their tests. */
const OWN =
  /^shoal (admin (cluster create|token|key (rotate|trusted)|certificate|reseal)\b|tracker confirm-restore$)/
/** In an order in which each finds what it needs. */
const LAST = ['revocations.create', 'revocations.clear', 'nodes.forget']
const derived = [...CALL_NAMES]
  .sort((one, other) => LAST.indexOf(one) - LAST.indexOf(other))
  .flatMap((name) =>
    callOf(name)
      .commands.filter((line) => !OWN.test(line))
      .map((line) => [line, name] as const),
  )

const argumentsOf = async (line: string) => ((await ARGUMENTS[line]?.()) ?? '').toString()
const full = (...words: string[]) => words.filter((word) => word !== '').join(' ')

describe('commands from the table of calls', () => {
  it('are the commands of most calls', () => {
    expect(derived.length).toBeGreaterThan(20)
  })

  it.each([
    ['image blobs', 'image blob', 1],
    ['pull ls', 'pull inspect', 0],
    ['node ls', 'node inspect', 0],
  ])('take an id as `shoal admin %s` shows it', async (list, inspect, column) => {
    const [, row = ''] = (await run(`shoal admin ${list} ${local()}`)).split('\n')
    const shown = row.split(/ {2,}/)[column]!
    expect(shown).toMatch(/^[0-9a-f]{12}(?:[0-9a-f]{4})?$/)
    expect(await run(`shoal admin ${inspect} ${shown} ${local()}`)).toContain('node')
    await expect(run(`shoal admin ${inspect} ${shown}0000 ${local()}`)).rejects.toMatchObject({
      code: 'USAGE',
    })
  })

  it.each(derived)(
    '%s answers people within the width of their terminal, and scripts by the schema (%s)',
    async (line, name) => {
      const words = await argumentsOf(line)
      const isView = callOf(name).method === 'GET'
      for (const columns of isView ? [100, 80, 60] : [100]) {
        const text = await run(full(line, words, local()), columns)
        expect(text.trim()).not.toBe('')
        expect(Math.max(...text.split('\n').map((one) => one.length))).toBeLessThanOrEqual(columns)
      }
      if (!isView) return
      const json = JSON.parse(await run(full(line, words, local(), '--json')))
      expect(callOf(name).answer.parse(json)).toEqual(json)
    },
  )

  it.each(derived)('%s does over TLS what the role of a token may (%s)', async (line, name) => {
    // What an argument stands for may be gone by now.
    const words = await argumentsOf(line).catch(() => '1')
    const { right } = callOf(name)
    for (const role of ['reader', 'operator', 'admin'] as const) {
      const outcome = await run(full(line, words, remote(role))).then(
        () => 'done',
        (error) => error.trackerCode ?? error.code,
      )
      if (right !== 'local' && isAtLeast(role, right)) expect(outcome).not.toBe('ROLE_TOO_LOW')
      else expect(['ROLE_TOO_LOW', 'USAGE']).toContain(outcome)
    }
  })

  it.each([
    ['shoal admin node ls --state asleep', 'USAGE'],
    ['shoal admin node ls --limit many', 'USAGE'],
    ['shoal admin node ls --limit 0', 'USAGE'],
    ['shoal admin node inspect xyz', 'USAGE'],
    ['shoal admin node inspect ffffffff', 'USAGE'],
    ['shoal admin node label 0000000000 zone', 'USAGE'],
    ['shoal admin image inspect team', 'USAGE'],
    ['shoal admin pull inspect ../../x', 'USAGE'],
    ['shoal admin node ls --cluster nobody', 'USAGE'],
    ['shoal admin node reinstate 99999', 'ADMIN_REFUSED'],
  ])('%s is refused', async (line, code) => {
    await expect(run(`${line} ${local()}`)).rejects.toMatchObject({ code })
  })

  it('say that there is more, and go on there', async () => {
    const first = await run(`shoal admin audit --limit 1 ${local()}`)
    const [, cursor] = /--cursor '(\d+)'/.exec(first) ?? []
    expect(await run(`shoal admin audit --limit 1 --cursor ${cursor} ${local()}`)).not.toBe(first)
  })

  it('tell keys apart', async () => {
    await world.makeCluster('second')
    const { clusters } = JSON.parse(await run(`shoal admin cluster ls --json ${local()}`))
    const shown = await run(`shoal admin key ls ${local()}`)
    const keys = [...shown.matchAll(/ ([0-9a-f]{16}) /g)].map(([, key]) => key)
    expect(clusters).toHaveLength(2)
    expect(new Set(keys).size).toBe(4)
  })
})

describe('a profile', () => {
  const home = () => join(folder, 'home')
  const put = (profile: object, mode = 0o600) => {
    mkdirSync(join(home(), '.config', 'shoal'), { recursive: true })
    const path = join(home(), '.config', 'shoal', 'site.json')
    writeFileSync(path, JSON.stringify(profile))
    chmodSync(path, mode)
  }

  it('names URL, authorities and token, whose paths count from its folder', () => {
    put({ url: 'https://tracker.example.com:7444', tokenFile: 'site.token', caFile: '/etc/ca.crt' })
    expect(profileAccess('site', home())).toEqual({
      url: 'https://tracker.example.com:7444',
      tokenFile: join(home(), '.config', 'shoal', 'site.token'),
      caFile: '/etc/ca.crt',
    })
  })

  it.each([
    ['that others can read', { url: 'https://x', tokenFile: 't' }, 0o644, 'site', 'CONFIG'],
    ['without a token', { url: 'https://x' }, 0o600, 'site', 'CONFIG'],
    ['with two ways to log in', { url: 'https://x', tokenFile: 't', pemFile: 'p' }, 0o600, 'site', 'CONFIG'],
    ['with an unknown field', { url: 'https://x', tokenFile: 't', token: 'x' }, 0o600, 'site', 'CONFIG'],
    ['that is not there', { url: 'https://x', tokenFile: 't' }, 0o600, 'other', 'FILE_ACCESS'],
    ['in another folder', { url: 'https://x', tokenFile: 't' }, 0o600, '../site', 'USAGE'],
  ])('%s is refused', (_, profile, mode, name, code) => {
    put(profile, mode)
    expect(() => profileAccess(name, home())).toThrow(expect.objectContaining({ code }))
  })
})

describe('shoal admin token', () => {
  it('makes a token with a role, which then opens the admin API, and is withdrawn by its name', async () => {
    const out = join(folder, 'carol.token')
    expect(
      await run(`shoal admin token create carol --role operator --ends 2d --out ${out} ${local()}`),
    ).toContain(out)
    expect(await run(`shoal admin whoami ${remote('carol')}`)).toMatch(
      /^token carol, with the role operator, until /,
    )
    expect(await run(`shoal admin token ls --admins ${local()}`)).toMatch(/^carol +operator +/m)
    expect(await run(`shoal admin token withdraw carol ${local()}`)).toContain('withdrawn')
    await expect(run(`shoal admin whoami ${remote('carol')}`)).rejects.toMatchObject({
      trackerCode: 'LOGIN_REFUSED',
    })
  })

  it.each([
    ['no role', 'dave'],
    ['another role', 'dave --role root'],
    ['a role without a name', '--role reader'],
    ['too long a life', 'dave --role reader --ends 367d'],
    ['no time', 'dave --role reader --ends soon'],
  ])('makes none with %s', async (_, words) => {
    await expect(run(`shoal admin token create ${words} ${local()}`)).rejects.toMatchObject({ code: 'USAGE' })
  })

  it('is not shown to whoever is not the tracker: the listener is verified', async () => {
    const elsewhere = remote('reader').replace(/--admin-ca-file \S+ /, '')
    await expect(run(`shoal admin whoami ${elsewhere}`)).rejects.toMatchObject({ code: 'ADMIN_UNAVAILABLE' })
  })
})
