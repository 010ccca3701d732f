import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { newJoinToken } from '../../../certs-tool/secrets.ts'
import { mustSkipFor } from '../../../lab/machine/requirements.ts'
import { randomBlob, startTestCluster, type TestCluster } from '../../pull/test-cluster.ts'
import { type LiveNode, startLiveNode } from '../live-node.ts'
import { runShoal } from '../run-shoal.ts'

/** The rest of what once misled operators: what shows with pulls, on small disks and after a restart. */

const MIB = 1024 * 1024
/** Of the disks of these tests: less than what a node leaves free. */
const DISK_BYTES = 160 * MIB

let cluster: TestCluster
const nodes: LiveNode[] = []
const mounted: string[] = []
beforeAll(async () => {
  cluster = await startTestCluster({ nodes: 1 })
})
afterEach(async () => {
  for (const node of nodes.splice(0)) {
    node.program.child.kill('SIGTERM')
    await node.program.outcome
  }
  for (const folder of mounted.splice(0)) execFileSync('umount', [folder])
})
afterAll(() => cluster.close())

async function start(name: string, settings: Record<string, unknown> = {}): Promise<LiveNode> {
  const node = await startLiveNode(cluster, name, settings)
  nodes.push(node)
  return node
}

const asJson = async (outcome: ReturnType<typeof runShoal>) => JSON.parse((await outcome).stdout)

async function conditionsOf(node: LiveNode): Promise<string[]> {
  const { conditions } = await asJson(node.shoal('status', '--json'))
  return conditions.map(({ code }: { code: string }) => code).sort()
}

/** Codes of what `shoal doctor` finds wrong, and its words. */
async function doctorOf(...argv: string[]): Promise<{ codes: string[]; words: string }> {
  const { links } = await asJson(runShoal(['doctor', '--json', ...argv]))
  const findings = links.flatMap((link: { findings: Record<string, string>[] }) => link.findings)
  const wrong = findings.filter(({ level }: { level: string }) => level === 'warning' || level === 'error')
  return {
    codes: wrong.map(({ code }: { code: string }) => code).sort(),
    words: findings.map((one: object) => Object.values(one).join(' ')).join('\n'),
  }
}

const doctorAt = (node: LiveNode) => doctorOf('--socket', join(node.dataDir, 'shoal.sock'))

function smallDisk(name: string): string {
  const folder = join(cluster.folder, name)
  mkdirSync(folder)
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES},mode=0700`, 'shoal-test', folder])
  mounted.push(folder)
  return folder
}

test('a registry that is slow to say who may have a blob is named, and the tracker is not', async () => {
  const node = await start('slow-head')
  const { door } = cluster.registry
  cluster.registry.door = async (request, response) => {
    if (request.method === 'HEAD' || request.headers.range !== undefined) await wait(1500)
    return door(request, response)
  }
  try {
    const blob = cluster.registry.add(randomBlob(MIB).bytes)
    expect((await node.pull(blob)).equals(blob.bytes)).toBe(true)
    expect(await conditionsOf(node)).toEqual(['REGISTRY_LATE'])
    const { codes, words } = await doctorAt(node)
    expect(codes).toEqual(['REGISTRY_LATE'])
    expect(words).toContain('Look at the load of the registry')
    expect((await node.shoal('explain', blob.digest)).stdout).toContain('REGISTRY_LATE (1 layer)')
  } finally {
    cluster.registry.door = door
  }
})

test('what was held and pulled before a restart is shown after it', async () => {
  const node = await start('again')
  const blob = cluster.registry.add(randomBlob(MIB).bytes)
  await node.pullImage('kept', [blob])
  node.program.child.kill('SIGTERM')
  await nodes.shift()!.program.outcome
  const later = await start('again')
  const status = await asJson(later.shoal('status', '--json'))
  expect(status.cache).toMatchObject({ blobs: 1, bytes: blob.bytes.length })
  expect(status.pulls).toMatchObject([{ reference: 'kept', outcome: 'done' }])
  expect(status.totals.sinceInstall.registry).toBe(blob.bytes.length)
  expect((await later.shoal('cache', 'ls')).stdout).toContain('kept')
})

test('the registry can tell whose questions it answers', async () => {
  const agents = new Set<string | undefined>()
  const { door } = cluster.registry
  cluster.registry.door = (request, response) => {
    agents.add(request.headers['user-agent'])
    return door(request, response)
  }
  const node = await start('agent')
  await node.pull(cluster.registry.add(randomBlob(MIB).bytes))
  cluster.registry.door = door
  // The client of this test names none, and its own request never left for the registry.
  expect([...agents].filter((agent) => !/^shoal\/\d/.test(agent ?? ''))).toEqual([])
})

test('a join token that was replaced ends the start with where to get another', async () => {
  const { trackerUrl, trackerCaPem } = cluster.nodeOptions('stale') as Record<string, string>
  const file = (name: string, text: string) => {
    const path = join(cluster.folder, name)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  const settings = {
    ...{ 'tracker-url': trackerUrl!, 'tracker-ca-file': file('tracker-ca.pem', trackerCaPem!) },
    'join-token-file': file('stale-token', newJoinToken(cluster.id as never)),
    ...{ 'data-dir': join(cluster.folder, 'stale'), 'docker-certs-dir': 'none', 'attached-dir': 'none' },
    ...{ 'proxy-listen': '127.0.0.1:0', 'peer-listen': '127.0.0.1:0', 'admin-listen': '127.0.0.1:0' },
  }
  const flags = Object.entries(settings).map(([name, value]) => `--${name}=${value}`)
  const { code, stderr } = await runShoal(['node', ...flags])
  expect(code).toBe(1)
  expect(stderr).toContain('the tracker does not know this join token')
  expect(stderr).toMatch(/hint: The join token may have been replaced or have expired: `shoal admin/)
})

const onDisk = test.skipIf(mustSkipFor(['linux', 'root']))

onDisk('a disk with less than the reserve keeps nothing, and status and doctor name both', async () => {
  smallDisk('reserve')
  const node = await start('reserve')
  const blob = cluster.registry.add(randomBlob(MIB).bytes)
  expect((await node.pull(blob)).equals(blob.bytes)).toBe(true)
  expect(await conditionsOf(node)).toEqual(['DISK_LOW'])
  const { codes, words } = await doctorAt(node)
  expect(codes).toEqual(['DISK_LOW'])
  expect(words).toMatch(/MiB are free on its disk, and Shoal leaves \d+ MiB free for others/)
})

onDisk('a full disk stops the start with the folder and what is needed', async () => {
  const folder = smallDisk('full')
  try {
    execFileSync('dd', ['if=/dev/zero', `of=${folder}/filler`, 'bs=1M'], { stdio: 'ignore' })
  } catch {
    // It ends when the disk is full.
  }
  const { code, stderr } = await runShoal(['node', '--data-dir', folder, '--docker-certs-dir', 'none'])
  expect(code).toBe(1)
  expect(stderr).toContain(`cannot write to the data folder ${folder}: the disk is full`)
  expect(stderr).toMatch(/hint: 0 bytes are free there\. .*--data-dir/)
  const { codes } = await doctorOf('--data-dir', folder, '--config-file', join(folder, 'none'))
  expect(codes).toEqual(expect.arrayContaining(['NODE_DOWN', 'DISK_LOW']))
})
