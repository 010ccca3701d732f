import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer, type Server } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { chainOf, issueTrackerTls, makeLabAuthority } from '../../certs-tool/tracker-certificates.ts'
import { isAmong } from '../../cli/membership/join.ts'
import { pinOf } from '../../core/authority-pin.ts'
import { issueLeaf, type KeyedCertificate } from '../../core/issue-certificate.ts'
import { joinStringOf, parseJoinString } from '../../core/join-string.ts'
import { askLocally } from '../../lab/local-api.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { runShoal, type StartedShoal, startShoal } from './run-shoal.ts'

/** The whole way from outside: a tracker that is set up by one command, and machines that join and leave with one each. */

const folder = mkdtempSync(join(tmpdir(), 'shoal-join-'))
const inFolder = (name: string) => join(folder, name)
const configFile = inFolder('tracker.json')
const dataDir = inFolder('tracker-data')
let port: number
let adminPort: number
let joinString: string
let tracker: StartedShoal | undefined
const started: StartedShoal[] = []

const init = (...flags: string[]) =>
  runShoal([
    ...['tracker', 'init', '--name', '127.0.0.1', '--registries', 'registry.example.com'],
    ...['--listen', `127.0.0.1:${port}`, '--admin-listen', `127.0.0.1:${adminPort}`],
    ...['--config-file', configFile, '--data-dir', dataDir, ...flags],
  ])
const joinAs = (name: string, string = joinString) =>
  runShoal(['join', '-', '--data-dir', inFolder(name)], { input: `${string}\n` })
const leaveAs = (name: string) => runShoal(['leave', '--data-dir', inFolder(name)])
const token = async (...argv: string[]) =>
  (await runShoal(['admin', 'token', 'create', '--quiet', '--data-dir', dataDir, ...argv])).stdout.trim()

async function startTracker(): Promise<void> {
  // For all tests of this file, on a machine that is busy.
  tracker = startShoal(['tracker', '--config-file', configFile], { patienceMs: 300_000 })
  await logged(tracker, 'the tracker is ready')
}

async function stop(program: StartedShoal | undefined): Promise<void> {
  program?.child.kill('SIGTERM')
  await program?.outcome
}

async function logged(program: StartedShoal, text: string): Promise<void> {
  let log = ''
  program.child.stderr!.on('data', (chunk: string) => {
    log += chunk
  })
  await expect.poll(() => log, { timeout: 30_000 }).toContain(text)
}

/** Starts `shoal node` with nothing that tells it of a cluster. */
async function startNode(name: string): Promise<{ status(): Promise<NodeStatus> }> {
  const admin = await freePort()
  const node = startShoal([
    ...['node', '--data-dir', inFolder(name), '--docker-certs-dir', 'none', '--attached-dir', 'none'],
    ...['--proxy-listen', '127.0.0.1:0', '--peer-listen', '127.0.0.1:0'],
    ...['--admin-listen', `127.0.0.1:${admin}`],
  ])
  started.push(node)
  await logged(node, 'the node ')
  return { status: () => askLocally(inFolder(join(name, 'shoal.sock')), '/v1/status') }
}

interface NodeStatus {
  node: { joined: boolean; cluster?: string; id?: string }
  conditions: { code: string; remedy: string }[]
}

async function nodesOfTracker(): Promise<string[]> {
  const { request } = await import('node:http')
  const asked = request({ socketPath: join(dataDir, 'admin.sock'), path: '/admin/v1/nodes' }).end()
  const [response] = await once(asked, 'response')
  let text = ''
  for await (const chunk of response) text += chunk
  return JSON.parse(text).nodes.map(({ node }: { node: string }) => node)
}

function contentsOf(name: string): Record<string, string> {
  const names = readdirSync(inFolder(name)).filter((one) => statSync(inFolder(join(name, one))).isFile())
  return Object.fromEntries(names.map((one) => [one, readFileSync(inFolder(join(name, one)), 'latin1')]))
}

/** Changes some parts of a join string, with the right checksum. */
function changed(parts: Partial<Parameters<typeof joinStringOf>[0]>, string = joinString): string {
  return joinStringOf({ ...parseJoinString(string), ...parts })
}

beforeAll(async () => {
  port = await freePort()
  adminPort = await freePort()
})
afterEach(async () => {
  await Promise.all(started.splice(0).map(stop))
})
afterAll(async () => {
  await stop(tracker)
  rmSync(folder, { recursive: true, force: true })
})

describe('shoal tracker init', () => {
  it('makes all that a tracker needs, and prints unlock key and join string once each', async () => {
    const { code, stdout, stderr } = await init()
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout.match(/SHOALKEY-1-/g)).toHaveLength(1)
    joinString = /shoal join (SHOALJOIN-1-\S+)/.exec(stdout)![1]!
    expect(stdout.match(/SHOALJOIN-1-/g)).toHaveLength(1)
    const [, key] = /(SHOALKEY-1-\S+)/.exec(stdout)!
    expect(readFileSync(inFolder('unlock-key'), 'utf8')).toBe(`${key}\n`)
    for (const secret of ['unlock-key', 'tracker-tls.key', 'tracker-authority.key']) {
      expect(statSync(inFolder(secret)).mode & 0o777, secret).toBe(0o600)
    }
    const settings = readFileSync(configFile, 'utf8')
    expect(JSON.parse(settings)).toMatchObject({ advertise: [`127.0.0.1:${port}`] })
    expect(settings).not.toContain('SHOAL')
    // But the join string itself, everything fits a terminal.
    const long = stdout.split('\n').filter((line) => line.length > 80 && !line.includes('SHOALJOIN'))
    expect(long.filter((line) => !line.includes(folder))).toEqual([])
  })

  it('changes nothing a second time, and says what is there and how to get another join string', async () => {
    const before = contentsOf('')
    const { code, stdout, stderr } = await init()
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toContain(configFile)
    expect(stderr).toContain(`hint: Nothing was changed. For another join string: shoal admin token create`)
    expect(contentsOf('')).toEqual(before)
  })

  it('refuses a mistake before it makes anything', async () => {
    const elsewhere = inFolder('elsewhere')
    const argv = [
      'tracker',
      'init',
      '--config-file',
      join(elsewhere, 'tracker.json'),
      '--data-dir',
      elsewhere,
    ]
    for (const flags of [
      ['--listen', 'nowhere'],
      ['--expires', '1y'],
      ['--uses', '0'],
      ['--registries', '/'],
    ]) {
      expect((await runShoal([...argv, ...flags])).code, flags.join(' ')).toBe(2)
    }
    expect(existsSync(elsewhere)).toBe(false)
  })

  it('makes a tracker that starts', async () => {
    await startTracker()
  })
})

describe('a machine', () => {
  it('joins with one command, and its node starts with no flag that names a cluster', async () => {
    const { code, stdout, stderr } = await joinAs('one')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain('This machine is now a node of cluster c')
    expect(stdout).toContain('shoal attach docker --registry registry.example.com')
    const { status } = await startNode('one')
    await expect.poll(async () => (await status()).node, { timeout: 15_000 }).toMatchObject({ joined: true })
    const { node, conditions } = await status()
    expect(await nodesOfTracker()).toEqual([node.id])
    // The registries of the cluster are named, and not intercepted without consent.
    expect(conditions.map(({ code: one }) => one)).toContain('REGISTRY_NOT_CONSENTED')
  })

  it('may join again, and nothing changes: not here, and not at the tracker', async () => {
    const before = contentsOf('one')
    const nodes = await nodesOfTracker()
    const { code, stdout } = await joinAs('one')
    expect(code).toBe(0)
    expect(stdout).toContain('already a node of cluster')
    expect(contentsOf('one')).toEqual(before)
    expect(await nodesOfTracker()).toEqual(nodes)
  })

  it('keeps where it stands in its settings, and refuses what cannot be a zone', async () => {
    const settings = inFolder('node.json')
    writeFileSync(settings, JSON.stringify({ logLevel: 'warn' }), { mode: 0o640 })
    const joinAt = (...flags: string[]) =>
      runShoal(['join', '-', '--data-dir', inFolder('one'), '--config-file', settings, ...flags], {
        input: `${joinString}\n`,
      })
    const { code, stdout } = await joinAt('--zone', 'east', '--rack', 'r12')
    expect(code).toBe(0)
    expect(stdout).toContain(`east, rack r12, in ${settings}`)
    const kept = { logLevel: 'warn', zone: 'east', rack: 'r12' }
    expect(JSON.parse(readFileSync(settings, 'utf8'))).toEqual(kept)
    expect(statSync(settings).mode & 0o777).toBe(0o640)
    for (const flags of [
      ['--zone', 'East'],
      ['--rack', 'r 12'],
    ])
      expect((await joinAt(...flags)).code, flags.join(' ')).toBe(2)
    expect(JSON.parse(readFileSync(settings, 'utf8'))).toEqual(kept)
    writeFileSync(settings, '{}')
    expect((await joinAt('--rack', 'r12')).stderr).toContain('Set zone too')
    expect(readFileSync(settings, 'utf8')).toBe('{}')
  })

  it('that is in another cluster is told how to leave that first', async () => {
    const other = changed({ joinToken: `SHOAL-1-cffffffffffffffff-${'A'.repeat(43)}` })
    const { code, stderr } = await joinAs('one', other)
    expect(code).toBe(1)
    expect(stderr).toMatch(/\(JOIN_OTHER_CLUSTER\)\nhint: Run `shoal leave` first/)
  })

  it('whose node runs and waits joins within seconds', async () => {
    const { status } = await startNode('waiting')
    expect((await status()).node).toMatchObject({ joined: false })
    expect((await status()).conditions).toContainEqual(
      expect.objectContaining({ code: 'NOT_JOINED', remedy: expect.stringContaining('shoal join') }),
    )
    const { stdout } = await joinAs('waiting')
    expect(stdout).toContain('notices this within seconds')
    await expect.poll(async () => (await status()).node, { timeout: 15_000 }).toMatchObject({ joined: true })
    expect((await status()).conditions.map(({ code }) => code)).not.toContain('NOT_JOINED')
  })

  it.skipIf(mustSkipFor(['root']))(
    'whose node runs as another user joins by root, and what is written belongs to that user',
    async () => {
      const user = 61_184
      mkdirSync(inFolder('service'), { mode: 0o700 })
      chownSync(inFolder('service'), user, user)
      expect((await joinAs('service')).code).toBe(0)
      const names = readdirSync(inFolder('service'))
      expect(names).toEqual(expect.arrayContaining(['cluster.json', 'node-key.pem', 'node.pem']))
      for (const name of names) expect(statSync(inFolder(join('service', name))).uid, name).toBe(user)
      // A link that the user put there leads root nowhere.
      const kept = inFolder('kept')
      mkdirSync(kept)
      writeFileSync(join(kept, 'data'), 'mine')
      mkdirSync(inFolder('service/blobs'))
      symlinkSync(kept, inFolder('service/blobs/swarm'))
      expect((await leaveAs('service')).code).toBe(0)
      expect(readdirSync(inFolder('service'))).toEqual([])
      expect(readFileSync(join(kept, 'data'), 'utf8')).toBe('mine')
    },
  )

  it('that is a copy of another is no node: the identity is dropped, and the tracker sees nothing of it', async () => {
    const nodes = await nodesOfTracker()
    const [before, key] = [contentsOf('one')['node-machine'], contentsOf('one')['node-key.pem']]
    expect(before).toMatch(/^[0-9a-f]{32}\n$/)
    writeFileSync(inFolder('one/node-machine'), `${'0'.repeat(32)}\n`)
    const { status } = await startNode('one')
    const { node, conditions } = await status()
    expect(node.joined).toBe(false)
    expect(conditions).toContainEqual(
      expect.objectContaining({ code: 'IDENTITY_COPIED', remedy: expect.stringContaining('shoal join') }),
    )
    const after = contentsOf('one')
    expect(after['node-machine']).toBe(before)
    expect(after['node-key.pem']).not.toBe(key)
    expect(Object.keys(after)).not.toContain('node.pem')
    expect(await nodesOfTracker()).toEqual(nodes)
    expect((await joinAs('one')).code).toBe(0)
    await expect.poll(async () => (await status()).node, { timeout: 15_000 }).toMatchObject({ joined: true })
    expect((await status()).conditions.map(({ code }) => code)).not.toContain('IDENTITY_COPIED')
    expect(await nodesOfTracker()).toHaveLength(nodes.length + 1)
  })
})

describe('shoal tracker renew', () => {
  const renew = () => runShoal(['tracker', 'renew', '--config-file', configFile])

  it('makes the next certificate in place, which join strings of before trust', async () => {
    const before = contentsOf('')
    const { code, stdout, stderr } = await renew()
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain('127.0.0.1')
    const after = contentsOf('')
    const changedNames = Object.keys(after).filter((name) => after[name] !== before[name])
    expect(changedNames.sort()).toEqual(['tracker-tls.crt', 'tracker-tls.key'])
    const [old, next] = [before, after].map((files) => new X509Certificate(files['tracker-tls.crt']!))
    expect(next!.subjectAltName).toBe(old!.subjectAltName)
    expect(next!.serialNumber).not.toBe(old!.serialNumber)
    expect(statSync(inFolder('tracker-tls.key')).mode & 0o777).toBe(0o600)
    await stop(tracker)
    await startTracker()
    expect((await joinAs('after-renewal')).code).toBe(0)
  })

  it('changes nothing where the authority’s key is not there', async () => {
    const before = contentsOf('')
    writeFileSync(inFolder('tracker-authority.key'), 'no key')
    expect(await renew()).toMatchObject({ code: 1, stderr: expect.stringContaining('is not the key of') })
    writeFileSync(inFolder('tracker-authority.key'), before['tracker-authority.key']!, 'latin1')
    expect(contentsOf('')).toEqual(before)
  })
})

describe('a join string that does not count', () => {
  const refused = async (string: string) => {
    const name = mkdtempSync(inFolder('refused-')).slice(folder.length + 1)
    const { code, stdout, stderr } = await joinAs(name, string)
    expect(stdout).toBe('')
    expect(Object.keys(contentsOf(name))).not.toContain('node.pem')
    expect(stderr).not.toContain(string.slice(-30))
    return [code, /\(([A-Z_]+)\)\nhint: ./.exec(stderr)?.[1] ?? stderr]
  }

  it('is told apart: mistyped, cut, of another version, no join string at all', async () => {
    const at = joinString.length - 20
    const other = joinString[at] === 'A' ? 'B' : 'A'
    const mistyped = joinString.slice(0, at) + other + joinString.slice(at + 1)
    expect(await refused(mistyped)).toEqual([1, 'JOIN_STRING_TYPO'])
    expect(await refused(joinString.slice(0, -9))).toEqual([1, 'JOIN_STRING_TYPO'])
    expect(await refused(joinString.replace('-1-', '-2-'))).toEqual([1, 'JOIN_STRING_VERSION'])
    expect(await refused(parseJoinString(joinString).joinToken)).toEqual([1, 'JOIN_STRING'])
    expect((await runShoal(['join', '-'])).code).toBe(2)
    const attaching = await runShoal([
      'join',
      joinString,
      '--data-dir',
      inFolder('never'),
      '--attach',
      'dockr',
    ])
    expect(attaching.code).toBe(2)
    expect(existsSync(inFolder('never'))).toBe(false)
  })

  it('is told apart: used up, withdrawn, never made here', async () => {
    const once = await token('--uses', '1')
    expect((await joinAs('once', once)).code).toBe(0)
    expect(await refused(once)).toEqual([1, 'JOIN_TOKEN_USED_UP'])
    // The node itself may come again.
    rmSync(inFolder('once/node.pem'))
    expect((await joinAs('once', once)).code).toBe(0)
    const withdrawn = await token()
    const list = await runShoal(['admin', 'token', 'ls', '--json', '--data-dir', dataDir])
    const [{ id }] = JSON.parse(list.stdout)
    expect((await runShoal(['admin', 'token', 'withdraw', id, '--data-dir', dataDir])).code).toBe(0)
    expect(await refused(withdrawn)).toEqual([1, 'JOIN_TOKEN_REVOKED'])
    const { cluster } = parseJoinString(joinString)
    const unknown = changed({ joinToken: `SHOAL-1-${cluster}-${'A'.repeat(43)}` })
    expect(await refused(unknown)).toEqual([1, 'JOIN_REFUSED'])
  })

  it('is refused after its end, by the clock of the tracker', async () => {
    const short = await token('--expires', '1m')
    const { DatabaseSync } = await import('node:sqlite')
    const database = new DatabaseSync(join(dataDir, 'tracker.sqlite'))
    database.exec(`UPDATE join_tokens SET valid_until_ms = ${Date.now() - 1}
      WHERE created_at_ms = (SELECT max(created_at_ms) FROM join_tokens)`)
    database.close()
    expect(await refused(short)).toEqual([1, 'JOIN_TOKEN_EXPIRED'])
  })

  it('names a tracker that does not answer, or that has another authority', async () => {
    expect(await refused(changed({ trackers: ['127.0.0.1:1'] }))).toEqual([1, 'TRACKER_UNREACHABLE'])
    expect(await refused(changed({ authorityPin: Buffer.alloc(32, 7) }))).toEqual([1, 'TRACKER_PIN'])
  })

  it('may name several trackers, of which one is enough', async () => {
    const several = changed({ trackers: ['127.0.0.1:1', `127.0.0.1:${port}`] })
    expect((await joinAs('several', several)).code).toBe(0)
    expect(contentsOf('several')['cluster.json']).toContain(`"127.0.0.1:${port}",\n    "127.0.0.1:1"`)
  })
})

describe('whoever stands between', () => {
  let server: Server | undefined
  afterEach(() => void server?.close())
  let heard: string

  /** Answers as a tracker would, but for what it has. */
  async function listen(
    tls: KeyedCertificate | { certificatePem: string; privateKeyPem: string },
    date = new Date(),
  ) {
    heard = ''
    server = createServer({ cert: tls.certificatePem, key: tls.privateKeyPem }, (socket) => {
      socket.on('error', () => undefined)
      socket.on('data', (chunk) => {
        heard += chunk.toString('latin1')
        socket.end(`HTTP/1.1 404 Not Found\r\ndate: ${date.toUTCString()}\r\ncontent-length: 0\r\n\r\n`)
      })
    })
    server.on('tlsClientError', () => undefined)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return `127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  const joining = async (string: string) => {
    const { code, stderr } = await joinAs('attacked', string)
    expect(code, stderr).not.toBeNull()
    expect(heard).not.toContain('SHOAL')
    expect(heard).not.toContain(parseJoinString(string).joinToken.slice(-43))
    return { code, reason: /\(([A-Z_]+)\)/.exec(stderr)?.[1], stderr }
  }

  it('with a certificate of its own hears not a byte', async () => {
    const own = await makeLabAuthority()
    const leaf = await issueTrackerTls(own, { names: [] })
    const at = await listen({ ...leaf, certificatePem: chainOf(leaf, own) })
    expect(await joining(changed({ trackers: [at] }))).toMatchObject({ code: 1, reason: 'TRACKER_PIN' })
    expect(heard).toBe('')
  })

  it('with the real authority’s certificate behind its own hears not a byte', async () => {
    const own = await makeLabAuthority()
    const leaf = await issueTrackerTls(own, { names: [] })
    const real = readFileSync(inFolder('tracker-authority.crt'), 'utf8')
    // Named as the real one, so that the chain looks whole.
    const at = await listen({ ...leaf, certificatePem: `${leaf.certificatePem}\n${real}` })
    const { code, reason } = await joining(changed({ trackers: [at] }))
    expect(code).toBe(1)
    expect(['TRACKER_PIN', 'TRACKER_CERTIFICATE']).toContain(reason)
    expect(heard).toBe('')
  })

  it('with a certificate of the real authority for another name hears not a byte', async () => {
    const authority = realAuthority()
    const leaf = await issueLeaf(authority, {
      ...{ commonName: 'x', validForSeconds: 600, usages: ['serverAuth'] },
      names: [{ type: 'dns', value: 'other.example.com' }],
    })
    const at = await listen({ ...leaf, certificatePem: chainOf(leaf, authority) })
    const got = await joining(changed({ trackers: [at] }))
    expect(got).toMatchObject({ code: 1, reason: 'TRACKER_CERTIFICATE' })
    expect(heard).toBe('')
  })

  it('or a clock that is wrong: the two clocks are compared, and the token is not said', async () => {
    const authority = realAuthority()
    const ended = await issueLeaf(authority, {
      ...{ commonName: 'x', validForSeconds: -60, usages: ['serverAuth'] },
      names: [{ type: 'ip', value: '127.0.0.1' }],
    })
    const tls = { ...ended, certificatePem: chainOf(ended, authority) }
    const at = await listen(tls, new Date(Date.now() - 3 * 3600 * 1000 - 60_000))
    const { code, reason, stderr } = await joining(changed({ trackers: [at] }))
    expect({ code, reason }).toEqual({ code: 1, reason: 'CLOCK_SKEWED' })
    expect(stderr).toContain('3 hours ahead of')
    server!.close()
    const again = await listen(tls)
    expect(await joining(changed({ trackers: [again] }))).toMatchObject({ reason: 'TRACKER_CERTIFICATE' })
  })

  function realAuthority(): KeyedCertificate {
    const certificatePem = readFileSync(inFolder('tracker-authority.crt'), 'utf8')
    expect(pinOf(new X509Certificate(certificatePem))).toEqual(parseJoinString(joinString).authorityPin)
    return { certificatePem, privateKeyPem: readFileSync(inFolder('tracker-authority.key'), 'utf8') }
  }
})

describe('shoal leave', () => {
  it('makes no folder where none is', async () => {
    expect(await leaveAs('nowhere')).toMatchObject({ code: 0, stdout: 'This machine is in no cluster.\n' })
    expect(existsSync(inFolder('nowhere'))).toBe(false)
  })

  it('gives the identity back while the node runs: the tracker forgets it, and nothing of it stays', async () => {
    await startNode('waiting')
    const node = started.at(-1)!
    const nodes = await nodesOfTracker()
    const { code, stdout, stderr } = await leaveAs('waiting')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain('The tracker has forgotten this node')
    expect((await node.outcome).code).toBe(0)
    expect(await nodesOfTracker()).toHaveLength(nodes.length - 1)
    expect(
      readdirSync(inFolder('waiting')).filter((name) => /^node|cluster|blobs|registries/.test(name)),
    ).toEqual([])
    const again = await leaveAs('waiting')
    expect(again).toMatchObject({ code: 0, stdout: expect.stringContaining('is in no cluster') })
  })

  it('lets the machine join again, as another node', async () => {
    expect((await joinAs('waiting')).code).toBe(0)
    expect((await joinAs('waiting')).stdout).toContain('already')
  })

  it('never speaks for the machine that a folder was copied from', async () => {
    const nodes = await nodesOfTracker()
    writeFileSync(inFolder('waiting/node-machine'), `${'0'.repeat(32)}\n`)
    expect((await leaveAs('waiting')).code).toBe(0)
    expect(await nodesOfTracker()).toEqual(nodes)
  })

  it('does the local part while the tracker is down, and says so', async () => {
    await stop(tracker)
    const { code, stdout } = await leaveAs('one')
    expect(code).toBe(0)
    expect(stdout).toContain('The tracker could not be told')
    expect(contentsOf('one')['node-key.pem']).toBeUndefined()
    // A member that only cannot be confirmed is one all the same.
    const { code: joinCode, stdout: text } = await joinAs('several')
    expect(joinCode).toBe(0)
    expect(text).toContain('Not confirmed: ')
  })
})

it('finds a tracker among several of the settings, with the usual port or its own', () => {
  const several = 'https://one.example:7443,https://two.example'
  expect(['one.example:7443', 'two.example:443'].map((one) => isAmong(several, one))).toEqual([true, true])
  expect(isAmong(several, 'two.example:7443')).toBe(false)
})
