import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { Client } from 'undici'
import { afterAll, expect } from 'vitest'
import { makeKey } from '../../client/membership/node-identity.ts'
import { ADMIN_SOCKET } from '../../core/tracker-sockets.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { trackerConfig } from '../../tracker/config.ts'
import { runTracker } from '../../tracker/main.ts'
import { attackTest, controlTest } from './ledger.ts'
import { loot } from './loot.ts'
import { expectUnharmed, useTarget } from './target.ts'

/** Somebody who wants to be an administrator: with a copy of the data folder, an account, or a certificate of before. */
const target = useTarget()
const NOBODY = 65534
const copies: string[] = []
afterAll(() => {
  for (const copy of copies) rmSync(copy, { recursive: true, force: true })
})

const dataDir = () => join(target.cluster.folder, 'tracker')
const CLUSTERS = '/admin/v1/clusters'

/** As a backup or a thief has it: what is in files. */
function copyDataFolder(): string {
  const copy = mkdtempSync(join(tmpdir(), 'shoal-stolen-'))
  copies.push(copy)
  cpSync(dataDir(), copy, { recursive: true, filter: (path) => !lstatSync(path).isSocket() })
  rmSync(join(copy, 'lock'), { force: true })
  return copy
}

interface Identity {
  cert: string
  key: string
  ca: string
}

async function ask(client: Client, method: 'GET' | 'POST', path: string, body?: object | string) {
  const answer = await client.request({
    ...{ method, path },
    headers: { 'content-type': 'application/json' },
    body: body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body),
  })
  const text = await answer.body.text()
  return { status: answer.statusCode, text, body: JSON.parse(text) as Record<string, unknown> }
}

/** What the admin API tells is the loot. */
async function rob(client: Client, path = CLUSTERS): Promise<string> {
  const { status, text, body } = await ask(client, 'GET', path)
  if (status === 200) loot.bytes += text.length
  return status === 200 ? 'served' : (body.error as { code: string }).code
}

const operator = () => new Client('http://localhost', { socketPath: join(dataDir(), ADMIN_SOCKET) })
const overTls = (identity: Identity) =>
  new Client(`https://localhost:${target.cluster.tracker.adminAddress.port}`, { connect: identity })

async function certified(): Promise<Identity> {
  const { spki, privateKeyPem } = makeKey()
  const asked = { publicKey: spki.toString('base64url'), validForSeconds: 3600 }
  const client = operator()
  const { body } = await ask(client, 'POST', '/admin/v1/certificates', asked)
  await client.close()
  return { cert: body.certificate as string, key: privateKeyPem, ca: (body.authorities as string[]).join('') }
}

attackTest(
  'a copy of the data folder holds no key in the clear, and no certificate of an administrator',
  async () => {
    // Also when one was given out.
    await certified()
    const copy = copyDataFolder()
    const names = readdirSync(copy)
    expect(names).toContain('tracker.sqlite')
    expect(names.filter((name) => name.endsWith('.pem'))).toEqual([])
    for (const name of names) {
      const found = readFileSync(join(copy, name), 'latin1').match(/PRIVATE KEY|urn:shoal:kind:admin/g) ?? []
      loot.bytes += found.join('').length
    }
  },
)

attackTest(
  'a tracker that a thief starts on the copy has no admin API, whatever key it is given',
  async () => {
    const copy = copyDataFolder()
    const [port, adminPort] = [await freePort(), await freePort()]
    const { folder } = target.cluster
    const config = trackerConfig.parse({
      ...{ listen: `127.0.0.1:${port}`, adminListen: `127.0.0.1:${adminPort}`, dataDir: copy },
      ...{ tlsCertFile: join(folder, 'tracker.crt'), tlsKeyFile: join(folder, 'tracker.key') },
    })
    const log = pino({ level: 'silent' })
    const locked = await runTracker(config, log)
    try {
      expect(readdirSync(copy)).not.toContain(ADMIN_SOCKET)
      const onPort = new Client(`https://localhost:${adminPort}`, { connect: { rejectUnauthorized: false } })
      await expect(rob(onPort)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
      const unlocking = new Client('http://localhost', { socketPath: join(copy, 'unlock.sock') })
      const guess = `SHOALKEY-1-${Buffer.alloc(32, 1).toString('base64url')}`
      const { status, body } = await ask(unlocking, 'POST', '/', guess)
      expect([status, (body.error as { code: string }).code]).toEqual([403, 'UNLOCK_KEY'])
    } finally {
      await locked.close()
    }
  },
)

controlTest(
  'a certificate that the socket gave is served: the attacks fail for the right reason',
  async () => {
    const client = overTls(await certified())
    expect(await rob(client)).toBe('served')
    await client.close()
  },
)

attackTest('a certificate cannot make itself another, and so does not outlive its hours', async () => {
  const client = overTls(await certified())
  const asked = { publicKey: makeKey().spki.toString('base64url'), validForSeconds: 3600 }
  const { status, text } = await ask(client, 'POST', '/admin/v1/certificates', asked)
  if (status < 300) loot.bytes += text.length
  expect(status).toBe(404)
  await client.close()
})

for (const how of ['lost, and the authority changed for it', 'of an authority that was withdrawn'] as const) {
  attackTest(`a certificate ${how} opens nothing, also on an open connection`, async () => {
    const stolen = await certified()
    const open = overTls(stolen)
    expect((await ask(open, 'GET', CLUSTERS)).status).toBe(200)
    const isLeaked = how.startsWith('lost')
    const path = '/admin/v1/admin-authorities'
    expect((await target.cluster.admin(path, { isLeaked })).status).toBe(201)
    if (!isLeaked) expect((await target.cluster.admin(`${path}/withdrawal`, {})).status).toBe(200)
    const { ca } = await certified()
    const again = overTls({ ...stolen, ca })
    for (const client of [open, again]) expect(await rob(client)).toBe('CERTIFICATE_REFUSED')
    for (const client of [open, again]) await client.close()
  })
}

if (!mustSkipFor(['linux', 'root', 'setpriv'])) {
  /** Connects as another user. @returns what came of it */
  const connectAs = (userId: number, path: string): string => {
    const user = ['--reuid', `${userId}`, '--regid', `${userId}`, '--clear-groups']
    const script = 'print(IO::Socket::UNIX->new(Peer => $ARGV[0]) ? "connected" : $!{EACCES} ? "EACCES" : $!)'
    const perl = ['perl', '-MIO::Socket::UNIX', '-MErrno', '-e', script, path]
    const { stdout } = spawnSync('setpriv', [...user, ...perl], { encoding: 'utf8', cwd: '/' })
    if (stdout.startsWith('connected')) loot.bytes += stdout.length
    return stdout.trim()
  }

  controlTest('another user connects to a socket that is open to all', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'shoal-open-'))
    copies.push(folder)
    chmodSync(folder, 0o755)
    const path = join(folder, 'open.sock')
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(path, resolve))
    chmodSync(path, 0o666)
    expect(connectAs(NOBODY, path)).toBe('connected')
    server.close()
  })

  attackTest(
    'another user of the machine cannot connect to the socket, in folders that are open to all',
    () => {
      for (const path of [target.cluster.folder, dataDir()]) chmodSync(path, 0o755)
      expect(connectAs(NOBODY, join(dataDir(), ADMIN_SOCKET))).toBe('EACCES')
    },
  )
}

expectUnharmed(target)
