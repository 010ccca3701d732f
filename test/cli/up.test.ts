import { X509Certificate } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { progressAt } from '../../lab/local-api.ts'
import { runShoal, type StartedShoal, startShoal } from './run-shoal.ts'

/** Free ports, and nothing outside the data folder. */
const SETTINGS = {
  listen: '127.0.0.1:0',
  'tracker-admin-listen': '127.0.0.1:0',
  'proxy-listen': '127.0.0.1:0',
  'admin-listen': '127.0.0.1:0',
  'peer-listen': '127.0.0.1:0',
  'docker-certs-dir': 'none',
  registries: 'registry.example.com',
}
const SECRETS = [
  'authority.key',
  'tracker.key',
  'unlock.key',
  'join-token',
  'tracker/admin.sock',
  'node/node-key.pem',
]

let parent: string
let dataDir: string
function makeFolder(): void {
  parent = mkdtempSync(join(tmpdir(), 'shoal-up-'))
  dataDir = join(parent, 'shoal-data')
}
function removeFolder(): void {
  rmSync(parent, { recursive: true, force: true })
}

function flags(settings: Record<string, string> = {}): string[] {
  const all = Object.entries({ ...SETTINGS, 'data-dir': dataDir, ...settings })
  return ['up', ...all.map(([name, value]) => `--${name}=${value}`)]
}
const inDataDir = (name: string) => readFileSync(join(dataDir, name), 'utf8')

/** Lines of standard error that are no log. */
function forPeople(stderr: string): string[] {
  return stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'))
}

/** Starts, waits until the guide is printed, looks, and stops as Ctrl-C does. */
async function upAndDown(
  argv: string[],
  look: (guide: string) => Promise<void> | void,
): Promise<number | null> {
  const up = startShoal(argv)
  try {
    await look(await up.printed('Undo:'))
  } finally {
    up.child.kill('SIGINT')
  }
  const { code, stderr } = await up.outcome
  expect(forPeople(stderr)).toEqual([])
  return code
}

describe('shoal up, started for the first time', () => {
  let up: StartedShoal
  let guide: string
  beforeAll(async () => {
    makeFolder()
    up = startShoal(flags({ 'log-level': 'trace' }))
    guide = await up.printed('Undo:')
  })
  afterAll(removeFolder)

  it('has made every file that it needs, the secret ones for their owner alone', () => {
    expect(readdirSync(dataDir)).toContain('authority.crt')
    for (const secret of SECRETS) expect(statSync(join(dataDir, secret)).mode & 0o777, secret).toBe(0o600)
    expect(statSync(dataDir).mode & 0o777).toBe(0o700)
    expect(inDataDir('join-token')).toMatch(/^SHOAL-1-c[0-9a-f]{16}-[\w-]{43}\n$/)
  })

  it('runs a node that has joined and says how it is', async () => {
    expect(inDataDir('node/node.pem')).toContain('BEGIN CERTIFICATE')
    const answer = await fetch(/health +(http:\S+)/.exec(guide)?.[1] ?? '')
    expect(answer.status).toBe(200)
    const nodeDir = /shoal -- status --data-dir (\S+)/.exec(guide)?.[1] ?? ''
    expect(await progressAt(join(nodeDir, 'shoal.sock'))).toEqual([])
  })

  it('is found by bare commands, and judged by its own settings', async () => {
    // As in the folder where it was started with the usual data folder.
    const env = { SHOAL_UP_DATA_DIR: dataDir }
    const asked = async (...argv: string[]) =>
      JSON.parse((await runShoal([...argv, '--json'], { env })).stdout)
    expect((await asked('status')).node.joined).toBe(true)
    const { links } = await asked('doctor')
    const findings = (link: string) => links.find((one: { link: string }) => one.link === link).findings
    expect(findings('settings')).toEqual([
      { level: 'ok', text: `\`shoal up\`; data folder ${join(dataDir, 'node')}; 1 registry` },
    ])
    expect(findings('tracker')).toMatchObject([{ level: 'ok', text: expect.stringContaining('verifies') }])
  })

  it('gives a bug report its settings and its log', async () => {
    const output = join(parent, 'report.tar.gz')
    const argv = ['bugreport', '--yes', '--output', output, '--data-dir', dataDir]
    expect(await runShoal(argv)).toMatchObject({ code: 0, stderr: '' })
    const text = gunzipSync(readFileSync(output)).toString()
    expect(text).toContain('"program": "up"')
    expect(text).toContain('"msg":"the node is ready"')
    expect(text).not.toContain(inDataDir('join-token').trim().slice(-43))
  })

  it('says how to point Docker at it, and how to undo that', () => {
    const proxy = /proxy\s+(http:\S+)/.exec(guide)?.[1]
    expect(guide).toContain(`Environment="HTTPS_PROXY=${proxy}"`)
    expect(guide).toContain(`{"proxies": {"https-proxy": "${proxy}"}}`)
    expect(guide).toContain('docker pull registry.example.com/')
    expect(guide).toContain('remove shoal.conf')
  })

  it('has its tracker found by bare commands of administrators, in the folder where it was started', async () => {
    const { stdout, stderr } = await runShoal(['admin', 'cluster', 'ls', '--json'], { folder: parent })
    expect(stderr).toBe('')
    expect(JSON.parse(stdout).clusters).toMatchObject([{ name: 'main' }])
    const copied = await runShoal(['tracker', 'backup', join(parent, 'backup')], { folder: parent })
    expect(copied).toMatchObject({ code: 0, stderr: '' })
  })

  it('obeys shoal admin: a new cluster, a new join token, and a refusal', async () => {
    const admin = [`--data-dir=${join(dataDir, 'tracker')}`]
    const made = await runShoal(['admin', 'cluster', 'create', 'second', ...admin])
    expect(made.stderr).toBe('')
    expect(made.stdout).toMatch(/^SHOAL-1-c[0-9a-f]{16}-[\w-]{43}\n$/)
    const cluster = made.stdout.split('-')[2] ?? ''
    const out = join(parent, 'token')
    const replacing = ['admin', 'token', 'rotate', cluster, ...admin, '--out', out, '--valid-hours', '1']
    expect(await runShoal(replacing)).toMatchObject({ code: 0, stderr: '' })
    expect(readFileSync(out, 'utf8')).toMatch(new RegExp(`^SHOAL-1-${cluster}-`))
    expect(readFileSync(out, 'utf8')).not.toBe(made.stdout)
    expect(statSync(out).mode & 0o777).toBe(0o600)
    // The file exists: refused before the tracker is asked, so the token that is in it stays good.
    expect(await runShoal(replacing)).toMatchObject({ code: 1, stdout: '' })
    const refused = await runShoal(['admin', 'token', 'rotate', 'c0000000000000000', ...admin])
    expect(refused).toMatchObject({ code: 1, stdout: '' })
    expect(refused.stderr).toMatch(/^shoal: the tracker refused: [^\n]+\nhint: [^\n]+\n$/)
  })

  it('ends well when it is told to, and has printed no secret', async () => {
    up.child.kill('SIGTERM')
    const { code, stdout, stderr } = await up.outcome
    expect(code).toBe(0)
    expect(forPeople(stderr)).toEqual([])
    const secrets = [inDataDir('join-token').trim().slice(-43), inDataDir('unlock.key').trim().slice(-43)]
    for (const key of ['authority.key', 'tracker.key']) secrets.push(inDataDir(key).split('\n')[1] ?? '')
    for (const secret of secrets) {
      expect(secret.length).toBeGreaterThan(40)
      expect(stdout + stderr).not.toContain(secret)
    }
  })
})

describe('shoal up', () => {
  beforeEach(makeFolder)
  afterEach(removeFolder)

  it('starts without a registry, and says what to add', async () => {
    const code = await upAndDown(flags({ registries: '' }), (guide) => {
      expect(guide).toContain('No registry is configured yet')
      expect(guide).toContain('--registries registry.example.com')
    })
    expect(code).toBe(0)
  })

  it('keeps cluster, authority and node over a restart, and takes a new name into its certificate', async () => {
    await upAndDown(flags(), () => {})
    const files = ['join-token', 'authority.crt', 'unlock.key', 'node/node-key.pem']
    const before = files.map(inDataDir)
    const certificateBefore = inDataDir('tracker.crt')
    await upAndDown(flags(), () => {})
    expect(inDataDir('tracker.crt')).toBe(certificateBefore)
    await upAndDown(flags({ listen: '127.0.0.2:0' }), (guide) => {
      expect(guide).toMatch(/tracker\s+https:\/\/127\.0\.0\.2:/)
    })
    expect(files.map(inDataDir)).toEqual(before)
    const certificate = new X509Certificate(inDataDir('tracker.crt'))
    expect(certificate.checkIP('127.0.0.2')).toBe('127.0.0.2')
    expect(certificate.verify(new X509Certificate(inDataDir('authority.crt')).publicKey)).toBe(true)
  })

  it('tells how another machine joins once others can reach it, with a command that works', async () => {
    const reachable = { listen: '0.0.0.0:0', 'advertise-host': 'localhost' }
    await upAndDown(flags(reachable), async (guide) => {
      expect(guide).toContain('shoal -- node --registries registry.example.com')
      const printed = /npm run shoal -- (admin token create .*)/.exec(guide)![1]!
      // Port 0 is none that a join string could name by itself.
      const { code, stdout } = await runShoal([...printed.split(' '), '--tracker', 'localhost:7443'])
      expect(code).toBe(0)
      expect(stdout).toContain('SHOALJOIN-1-')
    })
    await upAndDown(flags({ ...reachable, registries: '' }), (guide) =>
      expect(guide).toContain('shoal -- node --registries-from-tracker'),
    )
  })

  it('keeps no join token that was replaced', async () => {
    const reachable = { listen: '0.0.0.0:0', 'advertise-host': 'localhost' }
    const file = join(dataDir, 'join-token')
    await upAndDown(flags(reachable), async () => {
      const cluster = readFileSync(file, 'utf8').split('-')[2] ?? ''
      const admin = [`--data-dir=${join(dataDir, 'tracker')}`]
      await runShoal(['admin', 'token', 'rotate', cluster, ...admin, '--out', join(parent, 'elsewhere')])
      expect(existsSync(file)).toBe(false)
    })
  })

  it.each(['proxy-listen', 'tracker-admin-listen'])(
    'does not start when others could reach %s',
    async (name) => {
      const { code, stdout, stderr } = await runShoal(flags({ [name]: '0.0.0.0:0' }))
      expect(forPeople(stderr)).toEqual([
        expect.stringMatching(/^shoal: .*(loopback|other machines)/),
        expect.stringMatching(/^hint: /),
      ])
      expect(stdout).toBe('')
      expect(code).not.toBe(0)
    },
  )
})
