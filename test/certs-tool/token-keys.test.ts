import { afterAll, beforeAll, expect, it } from 'vitest'
import { tokenKeysCommand } from '../../certs-tool/commands/token-keys.ts'
import { outsideOf } from '../../cli/outside.ts'
import { runCommand } from '../../cli/run-command.ts'
import { startWorld, type TestNode, type World } from '../tracker/test-tracker.ts'

/** `shoal admin key trusted` against a tracker that came to trust a key by asking its registry. */
let world: World
let node: TestNode

beforeAll(async () => {
  world = await startWorld()
  node = await world.joined(await world.makeCluster())
})
afterAll(() => world.close())

const tokenKeysOf = ({ dataDir }: World, ...flags: string[]) =>
  runCommand(['shoal'], tokenKeysCommand, [`--data-dir=${dataDir}`, ...flags], outsideOf(process))
const tokenKeys = (...flags: string[]) => tokenKeysOf(world, ...flags)

it('says that there is none before the first pull', async () => {
  expect(await tokenKeys()).toBe('no token key was found by asking a registry\n')
})

it('shows an issuer that a token made up as harmless text', async () => {
  const iss = `\u001b[2J\u009b${'x'.repeat(500)}`
  const other = await startWorld()
  const member = await other.joined(await other.makeCluster())
  expect((await member.pull({ credential: { scheme: 'bearer', token: other.token({ iss }) } })).status).toBe(
    200,
  )
  const text = await tokenKeysOf(other)
  await other.close()
  expect(text).toContain('issuer "\\u001b[2J?xxx')
  expect(text).not.toMatch(/[^\x20-\x7e\n]/)
})

it('lists the key, withdraws it by its id, and lists it as withdrawn', async () => {
  await node.pull()
  const [line, ...more] = (await tokenKeys()).trimEnd().split('\n')
  expect(more).toEqual([])
  const id = line!.slice(0, 16)
  expect(line).toMatch(
    /^[0-9a-f]{16} {2}localhost:\d+ {2}issuer "token server", audience "registry": trusted from 20/,
  )
  expect(JSON.parse(await tokenKeys('--json'))).toMatchObject([{ id, withdrawnAtMs: null }])
  expect(await tokenKeys('--withdraw', id)).toMatch(
    new RegExp(`^${id} .*: withdrawn 20\\d\\d-\\S+ \\S+ UTC\n$`),
  )
  expect(await tokenKeys()).toMatch(/: withdrawn 20/)
  expect((await node.pull()).body.error.code).toBe('TOKEN_KEY_UNTRUSTED')
})

it('refuses what is no id, and an id that is not on record', async () => {
  await expect(tokenKeys('--withdraw', 'x')).rejects.toMatchObject({ code: 'USAGE' })
  await expect(tokenKeys('--withdraw', '0'.repeat(16))).rejects.toMatchObject({
    hint: expect.stringContaining('shoal admin key trusted'),
  })
})
