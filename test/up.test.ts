import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runShoal, startShoal } from './run-shoal.ts'

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
  'tracker/admin.pem',
  'node/node-key.pem',
]

let parent: string
let dataDir: string
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'shoal-up-'))
  dataDir = join(parent, 'data')
})
afterEach(() => rmSync(parent, { recursive: true, force: true }))

function flags(settings: Record<string, string> = {}): string[] {
  const all = Object.entries({ ...SETTINGS, 'data-dir': dataDir, ...settings })
  return ['up', ...all.map(([name, value]) => `--${name}=${value}`)]
}
const inDataDir = (name: string) => readFileSync(join(dataDir, name), 'utf8')

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
  expect(stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'))).toEqual([])
  return code
}

describe('shoal up', () => {
  it('makes everything at its first start, and a node that has joined answers', async () => {
    const code = await upAndDown(flags(), async (guide) => {
      const progress = /curl (http:\S+)/.exec(guide)?.[1]
      const answer = await fetch(String(progress))
      expect(answer.status).toBe(200)
      expect(await answer.json()).toMatchObject({ blobs: [] })
      expect(readdirSync(dataDir)).toContain('authority.crt')
      for (const secret of SECRETS) expect(statSync(join(dataDir, secret)).mode & 0o777, secret).toBe(0o600)
      expect(statSync(dataDir).mode & 0o777).toBe(0o700)
      expect(inDataDir('join-token')).toMatch(/^SHOAL-1-c[0-9a-f]{16}-[\w-]{43}\n$/)
    })
    expect(code).toBe(0)
  })

  it('says how to point Docker at it, and how to undo that', async () => {
    await upAndDown(flags(), (guide) => {
      const proxy = /proxy\s+(http:\S+)/.exec(guide)?.[1]
      expect(guide).toContain(`Environment="HTTPS_PROXY=${proxy}"`)
      expect(guide).toContain(`{"proxies": {"https-proxy": "${proxy}"}}`)
      expect(guide).toContain('docker pull registry.example.com/')
      expect(guide).toContain('remove shoal.conf')
    })
  })

  it('starts without a registry, and says what to add', async () => {
    const code = await upAndDown(flags({ registries: '' }), (guide) => {
      expect(guide).toContain('No registry is configured yet')
      expect(guide).toContain('--registries registry.example.com')
    })
    expect(code).toBe(0)
  })

  it('never prints the join token, the unlock key or a private key', async () => {
    const up = startShoal(flags({ 'log-level': 'trace' }))
    await up.printed('Undo:')
    up.child.kill('SIGTERM')
    const { stdout, stderr } = await up.outcome
    const secrets = [inDataDir('join-token').trim().slice(-43), inDataDir('unlock.key').trim().slice(-43)]
    for (const key of ['authority.key', 'tracker.key']) secrets.push(inDataDir(key).split('\n')[1] ?? '')
    for (const secret of secrets) {
      expect(secret.length).toBeGreaterThan(40)
      expect(stdout + stderr).not.toContain(secret)
    }
  })

  it('keeps its cluster, its authority and its node over a restart', async () => {
    const files = ['join-token', 'authority.crt', 'tracker.crt', 'unlock.key', 'node/node-key.pem']
    await upAndDown(flags(), () => {})
    const before = files.map(inDataDir)
    await upAndDown(flags(), () => {})
    expect(files.map(inDataDir)).toEqual(before)
  })

  it('starts again when the join token was taken away, and says how to make one', async () => {
    await upAndDown(flags(), () => {})
    rmSync(join(dataDir, 'join-token'))
    const reachable = { listen: '0.0.0.0:0', 'advertise-host': '127.0.0.1' }
    await upAndDown(flags(reachable), (guide) => expect(guide).toContain('shoal certs join-token'))
  })

  it('tells how another machine joins, once others can reach it', async () => {
    await upAndDown(flags({ listen: '0.0.0.0:0', 'advertise-host': 'localhost' }), (guide) => {
      expect(guide).toMatch(
        /shoal node --tracker-url https:\/\/localhost:\d+ --tracker-ca-file authority\.crt/,
      )
      expect(guide).toContain('--join-token-file join-token --registries registry.example.com')
    })
  })

  it('puts a new name into the tracker’s certificate, under the same authority', async () => {
    await upAndDown(flags(), () => {})
    const authority = inDataDir('authority.crt')
    await upAndDown(flags({ listen: '127.0.0.2:0' }), (guide) => {
      expect(guide).toMatch(/tracker\s+https:\/\/127\.0\.0\.2:/)
    })
    expect(inDataDir('authority.crt')).toBe(authority)
    const certificate = new X509Certificate(inDataDir('tracker.crt'))
    expect(certificate.checkIP('127.0.0.2')).toBe('127.0.0.2')
    expect(certificate.verify(new X509Certificate(authority).publicKey)).toBe(true)
  })
})

it('its admin API obeys shoal certs: a new cluster, a new join token, and a refusal', async () => {
  // A fixed port: what the tool must be told.
  const port = 20_000 + Math.floor(Math.random() * 10_000)
  await upAndDown(flags({ 'tracker-admin-listen': `127.0.0.1:${port}` }), async () => {
    const admin = [
      `--admin-url=https://127.0.0.1:${port}`,
      `--admin-pem=${join(dataDir, 'tracker/admin.pem')}`,
    ]
    const made = await runShoal(['certs', 'cluster', 'second', ...admin])
    expect(made.stderr).toBe('')
    expect(made.stdout).toMatch(/^SHOAL-1-c[0-9a-f]{16}-[\w-]{43}\n$/)
    const cluster = made.stdout.split('-')[2] ?? ''
    const out = join(parent, 'token')
    const replaced = await runShoal([
      'certs',
      'join-token',
      cluster,
      ...admin,
      '--out',
      out,
      '--valid-hours',
      '1',
    ])
    expect(replaced).toMatchObject({ code: 0, stderr: '' })
    expect(readFileSync(out, 'utf8')).toMatch(new RegExp(`^SHOAL-1-${cluster}-`))
    expect(readFileSync(out, 'utf8')).not.toBe(made.stdout)
    const refused = await runShoal(['certs', 'join-token', 'c0000000000000000', ...admin])
    expect(refused).toMatchObject({ code: 1, stdout: '' })
    expect(refused.stderr).toMatch(/^shoal: the tracker refused: [^\n]+\nhint: [^\n]+\n$/)
    const occupied = await runShoal(['certs', 'cluster', 'third', ...admin, '--out', out])
    expect(occupied.code).toBe(1)
    const listed = await runShoal(['certs', 'cluster', 'Not A Name', ...admin])
    expect(listed.code).toBe(1)
  })
})

it.each(['proxy-listen', 'admin-listen', 'tracker-admin-listen'])(
  '%s that others could reach stops it',
  async (name) => {
    const { code, stdout, stderr } = await runShoal(flags({ [name]: '0.0.0.0:0' }))
    const forPeople = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'))
    expect(forPeople).toEqual([expect.stringMatching(/^shoal: .*loopback/), expect.stringMatching(/^hint: /)])
    expect(stdout).toBe('')
    expect(code).not.toBe(0)
  },
)
