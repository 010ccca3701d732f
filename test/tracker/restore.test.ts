import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { confirmRestoreCommand } from '../../certs-tool/commands/confirm-restore.ts'
import { runCommand } from '../../cli/run-command.ts'
import { STORE_FILE } from '../../tracker/store/open-store.ts'
import { SqliteDatabase } from '../../tracker/store/sqlite-database.ts'
import { dumpSqlite, fillSqlite } from '../../tracker/store/sqlite-dump.ts'
import { restoreLines } from '../../tracker/store/take-in.ts'
import { each, linesOf } from './filled-store.ts'
import {
  newKey,
  publicKeyOf,
  startWorld,
  type TestCluster,
  type TestNode,
  type World,
} from './test-tracker.ts'

let world: World
let cluster: TestCluster
let honest: TestNode
let other: TestNode
let revoked: TestNode
beforeEach(async () => {
  world = await startWorld()
  cluster = await world.makeCluster()
  honest = await world.joined(cluster)
  other = await world.joined(cluster)
  revoked = await world.joined(cluster)
})
afterEach(() => world?.close())

const path = () => join(world.dataDir, STORE_FILE)
/** While the tracker runs. */
const backup = () => linesOf(dumpSqlite(path(), { program: 'test', takenAtMs: Date.now() }))

/** In place of the tracker's data, which is lost. */
async function restore(lines: string[]): Promise<void> {
  await world.tracker.close()
  for (const name of readdirSync(world.dataDir)) rmSync(join(world.dataDir, name), { recursive: true })
  await fillSqlite(path(), (store) => restoreLines(each(lines), store, Date.now()))
  await world.restart()
  for (const node of [honest, other, revoked]) await node.present(node.identity)
}

const revoke = (target: object) =>
  world.admin().post('/admin/v1/revocations', { cluster: cluster.cluster, ...target })
const report = async () => (await world.admin().request('GET', '/admin/v1/restore')).body.restore
const confirm = (body: object = {}) => world.admin().post('/admin/v1/restore/confirmation', body)
const audit = async (): Promise<{ action: string; target: string; actor: string }[]> =>
  (await world.admin().request('GET', '/admin/v1/audit?limit=1000')).body.entries

/** What a node carries after a heartbeat. */
async function carried(node: TestNode): Promise<string[]> {
  const { body } = await node.heartbeat()
  return [
    ...(body.revocations as { copy: string }[]).map(({ copy }) => copy),
    ...(body.keyChange === undefined ? [] : [body.keyChange as string]),
  ]
}

it('a node that was revoked after the backup gets nothing before the confirmation and nothing after it', async () => {
  const before = await backup()
  await revoke({ node: revoked.node })
  const copies = await carried(honest)
  expect(copies).toHaveLength(1)
  await restore(before)

  expect(await revoked.pull()).toMatchObject({ status: 503, body: { error: { code: 'TRACKER_RESTORED' } } })
  expect(await honest.pull()).toMatchObject({ status: 503, body: { error: { code: 'TRACKER_RESTORED' } } })
  const wanted = { servePublicKey: publicKeyOf(newKey()), wire: 2, wantsLinkCertificate: true }
  const { body } = await revoked.heartbeat(wanted)
  expect(body).toMatchObject({ isRestored: true, isPaused: true, wantsCopiesFrom: 0 })
  expect(body).toMatchObject({ serveCertificate: null, linkCertificate: null, peers: [] })
  expect(await revoked.post('/v1/nodes', { publicKey: publicKeyOf(revoked.key) })).toMatchObject({
    ...{ status: 503, body: { error: { code: 'TRACKER_RESTORED' } } },
  })
  // What the node knows stays as it is.
  expect((await honest.heartbeat({ revocationsVersion: 7 })).body).toMatchObject({
    ...{ revocationsVersion: 7, revocations: [], isFullRevocations: false },
  })
  expect((await world.admin().request('GET', '/healthz')).body).toEqual({ status: 'restored' })

  await honest.heartbeat({ revocationsVersion: 7, copies })
  expect((await honest.heartbeat()).body.wantsCopiesFrom).toBeUndefined()
  expect(await report()).toMatchObject({
    isGranting: false,
    clusters: [
      {
        ...{ nodesOnRecord: 3, nodesHeard: 1 },
        learned: [{ kind: 'node', target: revoked.node, nodes: 1, isWhole: true }],
      },
    ],
  })
  expect(await confirm()).toEqual({ status: 200, body: { revocations: 1 } })
  expect(await revoked.pull()).toMatchObject({ body: { error: { code: 'NODE_REVOKED' } } })
  expect(await revoked.heartbeat()).toMatchObject({ body: { error: { code: 'NODE_REVOKED' } } })
  expect((await honest.pull()).status).toBe(200)
  // Whatever number a node knows from the tracker of before, it hears all that is in force.
  expect((await other.heartbeat({ revocationsVersion: 2 })).body).toMatchObject({
    ...{ isFullRevocations: true, revocations: [{ kind: 'node', node: revoked.node }] },
  })
  const actions = (await audit()).map(({ action, target }) => [action, target])
  expect(actions).toContainEqual(['revocation learned from nodes', revoked.node])
  expect(actions.map(([action]) => action)).toEqual(
    expect.arrayContaining(['backup restored', 'restored backup confirmed']),
  )
  expect(await confirm()).toMatchObject({ status: 404, body: { error: { code: 'RESTORE_NONE' } } })
})

it('the command shows what was learned, changes nothing until it is given without --show, and then confirms', async () => {
  const before = await backup()
  await revoke({ node: revoked.node })
  const copies = await carried(honest)
  await restore(before)
  await honest.heartbeat({ copies })
  const command = (...flags: string[]) =>
    runCommand(
      ['shoal', 'tracker', 'confirm-restore'],
      confirmRestoreCommand,
      ['--data-dir', world.dataDir, ...flags],
      {} as never,
    )
  const shown = await command('--show')
  expect(shown).toContain('It grants nothing yet.')
  expect(shown).toMatch(new RegExp(`revoked since: node ${revoked.node}, .* UTC, from one node$`, 'm'))
  expect((await report()).isGranting).toBe(false)
  expect(await command()).toContain('Revocations put into force: 1.')
  expect(await command()).toContain('It was confirmed, and grants.')
})

it('a restored tracker believes no copy that it did not sign, and none from before its backup', async () => {
  // Made and cleared before the backup.
  await revoke({ node: other.node })
  const old = await carried(honest)
  await world.admin().request('DELETE', '/admin/v1/revocations/1')
  const before = await backup()
  await revoke({ node: revoked.node })
  const [right] = (await carried(honest)).slice(0, 1)
  const elsewhere = await world.makeCluster('elsewhere')
  const stranger = await world.joined(elsewhere)
  await world.admin().post('/admin/v1/revocations', { cluster: elsewhere.cluster, node: 'ab'.repeat(20) })
  const foreign = await carried(stranger)
  await restore(before)

  const [text = '', signature = ''] = right!.split('.')
  const statement = JSON.parse(Buffer.from(text, 'base64url').toString())
  const changed = Buffer.from(JSON.stringify({ ...statement, target: honest.node })).toString('base64url')
  const forged = [`${changed}.${signature}`, `${changed}.`, changed, '', '..', 'x.y', `${text}.${signature}.`]
  await honest.heartbeat({ copies: [...forged, ...old, ...foreign] })
  // One copy, however it is spelled.
  await other.heartbeat({ copies: [right, right, `${right}=`, `${right}\n`, right!.replace('.', '=.')] })
  const [{ nodesHeard, learned }] = (await report()).clusters
  expect(nodesHeard).toBe(2)
  expect(learned).toEqual([expect.objectContaining({ target: revoked.node, nodes: 1 })])
  expect((await confirm()).body).toEqual({ revocations: 1 })
  expect((await honest.pull()).status).toBe(200)
  expect((await other.pull()).status).toBe(200)
})

it('a pull that was revoked bars its user again, whose name no node is told', async () => {
  const pull = (
    await revoked.pull({ credential: { scheme: 'bearer', token: world.token({ sub: 'mallory' }) } })
  ).body
  const before = await backup()
  await revoke({ pull: pull.pull })
  const copies = await carried(honest)
  expect(Buffer.from(copies[0]!.split('.')[0]!, 'base64url').toString()).not.toContain('mallory')
  await restore(before)
  await honest.heartbeat({ copies })
  await confirm()
  const again = await other.pull({ credential: { scheme: 'bearer', token: world.token({ sub: 'mallory' }) } })
  expect(again).toMatchObject({ status: 403, body: { error: { code: 'SUBJECT_REVOKED' } } })
  expect((await other.pull()).status).toBe(200)
})

it('what an administrator cleared stays cleared, also when another node brings another copy of it', async () => {
  const pull = (await revoked.pull()).body
  const before = await backup()
  await revoke({ pull: pull.pull })
  const [one] = await carried(honest)
  // It seals anew whom the revocation bars.
  await world.restart()
  for (const node of [honest, other, revoked]) await node.present(node.identity)
  const [two] = await carried(other)
  expect(two).not.toBe(one)
  await restore(before)
  await confirm({ isUnheard: true })
  await honest.heartbeat({ copies: [one] })
  const revocations = async () =>
    (await world.admin().request('GET', '/admin/v1/revocations')).body.revocations
  const inForce = await revocations()
  expect(inForce).toMatchObject([{ kind: 'pull', target: pull.pull }])
  await world.admin().request('DELETE', `/admin/v1/revocations/${inForce[0].sequence}`)
  await other.heartbeat({ copies: [two] })
  expect(await revocations()).toEqual([])
})

it('is not confirmed before a node was heard, unless the operator says so; and asks late nodes for a day', async () => {
  const before = await backup()
  await revoke({ node: revoked.node })
  const copies = await carried(honest)
  await restore(before)
  expect(await confirm()).toMatchObject({ status: 409, body: { error: { code: 'RESTORE_UNHEARD' } } })
  expect((await confirm({ isUnheard: true })).body).toEqual({ revocations: 0 })
  expect((await revoked.pull()).status).toBe(200)
  const late = await honest.heartbeat()
  expect(late.body).toMatchObject({ wantsCopiesFrom: 0 })
  expect(late.body.isRestored).toBeUndefined()
  const told = await honest.heartbeat({ copies })
  expect(told.body.revocations).toMatchObject([{ kind: 'node', node: revoked.node }])
  expect(await revoked.pull()).toMatchObject({ body: { error: { code: 'NODE_REVOKED' } } })
  // What the operator then clears stays cleared, whoever else carries it.
  const [{ sequence }] = (await world.admin().request('GET', '/admin/v1/revocations')).body.revocations
  await world.admin().request('DELETE', `/admin/v1/revocations/${sequence}`)
  await other.heartbeat({ copies })
  expect((await revoked.pull()).status).toBe(200)
  world.clockOffsetMs += 24 * 3600_000 + 60_000
  const { body } = await (await world.joined(await fresh())).heartbeat()
  expect(body.wantsCopiesFrom).toBeUndefined()
})

/** With a join token that works. */
async function fresh(): Promise<TestCluster> {
  return world.makeCluster('fresh')
}

it('follows a change of the signing key, and changes it again when the backup is confirmed', async () => {
  const before = await backup()
  const keys = `/admin/v1/clusters/${cluster.cluster}/signing-keys`
  await world.admin().post(keys, {})
  const [keyChange] = await carried(honest)
  // From now on the next key signs.
  world.clockOffsetMs += 200_000
  await revoke({ node: revoked.node })
  const [copy] = await carried(honest)
  const clusters = async () => (await world.admin().request('GET', '/admin/v1/clusters')).body.clusters[0]
  const replaced = (await clusters()).signingKeys
  await restore(before)
  await honest.heartbeat({ copies: [copy!, keyChange!] })
  expect((await report()).clusters).toMatchObject([
    { isKeyReplaced: true, learned: [{ target: revoked.node }] },
  ])
  await confirm()
  const { signingKeys, keyRotation } = await clusters()
  expect(keyRotation).not.toBeNull()
  expect(signingKeys).toHaveLength(2)
  expect(replaced).not.toContain(signingKeys[1])
  expect(await revoked.pull()).toMatchObject({ body: { error: { code: 'NODE_REVOKED' } } })
})

it('brings back no join token and no administrator, and no lease or hash that nobody confirmed', async () => {
  const swarm = (await honest.pull()).body.swarms[0].swarm
  const identity = await world.adminIdentity()
  const reader = { name: 'monitor', role: 'reader', hash: 'a'.repeat(64), validForSeconds: 3600 }
  expect((await world.admin().post('/admin/v1/tokens', reader)).status).toBe(201)
  const before = await backup()
  await restore(before)
  await confirm({ isUnheard: true })
  const late = world.newNode()
  expect((await late.join(cluster.joinToken)).body.error.code).toBe('JOIN_TOKEN_REVOKED')
  await expect(world.remoteAdmin(identity).request('GET', '/admin/v1/clusters')).rejects.toThrow()
  expect((await world.admin().request('GET', '/admin/v1/tokens')).body).toEqual({ tokens: [] })
  const again = (await honest.pull()).body.swarms[0]
  expect(again).toMatchObject({ swarm, epoch: 1024, status: 'cold' })
})

it('is refused on a store that is in use, and if a newer program took it; nothing is stored then', async () => {
  const lines = await backup()
  const into = (to: string, changed: string[]) =>
    fillSqlite(join(world.dataDir, to), (store) => restoreLines(each(changed), store, 1))
  await expect(into(STORE_FILE, lines)).rejects.toMatchObject({ code: 'STORE_CONFLICT' })
  const newer = lines.with(0, lines[0]!.replace('"version":2', '"version":3'))
  await expect(into('new.sqlite', newer)).rejects.toMatchObject({ code: 'STORE_DUMP', hint: /newer/ })
  await expect(into('new.sqlite', lines.slice(0, -1))).rejects.toMatchObject({ code: 'STORE_DUMP' })
  const left = new SqliteDatabase(join(world.dataDir, 'new.sqlite'))
  expect(left.get('SELECT count(*) AS rows FROM meta')).toEqual({ rows: 0 })
  expect(left.get('SELECT count(*) AS rows FROM nodes')).toEqual({ rows: 0 })
  left.close()
  await into('new.sqlite', lines)
  expect(existsSync(join(world.dataDir, 'new.sqlite'))).toBe(true)
})

it('is stored as a whole or not at all when it is killed in the middle', async () => {
  const file = join(world.dataDir, 'backup')
  writeFileSync(file, (await backup()).map((line) => `${line}\n`).join(''))
  const program = fileURLToPath(new URL('restore-killed.ts', import.meta.url))
  const to = join(world.dataDir, 'new.sqlite')
  const killedAt = (write: number) => spawnSync(process.execPath, [program, to, file, String(write)])
  const rows = (table: string) => {
    const database = new SqliteDatabase(to)
    const row = database.get(`SELECT count(*) AS rows FROM ${table}`)
    database.close()
    return row?.rows
  }
  for (const write of [1, 5, 12, 20]) {
    expect(killedAt(write).signal).toBe('SIGKILL')
    for (const table of ['meta', 'nodes', 'restores']) expect(rows(table)).toBe(0)
  }
  const whole = killedAt(1000)
  expect(whole.signal).toBe('SIGKILL')
  expect(Number(whole.stdout)).toBeGreaterThan(20)
  expect([rows('meta'), rows('nodes'), rows('restores')]).toEqual([1, 3, 1])
})
