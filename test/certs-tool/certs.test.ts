import { spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, createServer } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { runShoal } from '../cli/run-shoal.ts'

const folder = mkdtempSync(join(tmpdir(), 'shoal-certs-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const certs = (...argv: string[]) => runShoal(['certs', ...argv])
const modeOf = (path: string) => statSync(path).mode & 0o777

describe('an authority and the tracker’s certificate', () => {
  const place = join(folder, 'tls')
  const inPlace = (name: string) => join(place, name)
  beforeAll(async () => {
    const made = await certs('authority', '--out-dir', place)
    expect(made).toMatchObject({ code: 0, stderr: '' })
    const names = ['--name', 'Tracker.example.com', '--name', '10.0.0.5', '--name', 'fd00::5']
    const issued = await certs('tracker-tls', '--authority-dir', place, '--out-dir', place, ...names)
    expect(issued).toMatchObject({ code: 0, stderr: '' })
  })

  it('are four files, of which the keys are for their owner alone', () => {
    expect(modeOf(inPlace('authority.key'))).toBe(0o600)
    expect(modeOf(inPlace('tracker.key'))).toBe(0o600)
    expect(modeOf(inPlace('authority.crt'))).toBe(0o644)
  })

  it('name this machine and every name that was asked for', () => {
    const certificate = new X509Certificate(readFileSync(inPlace('tracker.crt')))
    for (const name of ['localhost', 'tracker.example.com'])
      expect(certificate.checkHost(name), name).toBe(name)
    for (const address of ['127.0.0.1', '::1', '10.0.0.5', 'fd00::5']) {
      expect(certificate.checkIP(address), address).toBeDefined()
    }
    expect(certificate.checkHost('other.example.com')).toBeUndefined()
  })

  it('are what a TLS connection verifies', async () => {
    const server = createServer({
      cert: readFileSync(inPlace('tracker.crt')),
      key: readFileSync(inPlace('tracker.key')),
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const ca = readFileSync(inPlace('authority.crt'))
    const socket = connect({ host: '127.0.0.1', port, ca, servername: 'localhost' })
    await new Promise<void>((resolve, reject) => socket.on('secureConnect', resolve).on('error', reject))
    expect(socket.authorized).toBe(true)
    socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })

  it.skipIf(mustSkipFor(['openssl']))('satisfy openssl', () => {
    const verified = spawnSync(
      'openssl',
      [
        'verify',
        '-x509_strict',
        '-purpose',
        'sslserver',
        '-CAfile',
        inPlace('authority.crt'),
        inPlace('tracker.crt'),
      ],
      { encoding: 'utf8' },
    )
    expect(verified.stdout + verified.stderr).toContain(': OK')
  })

  it('are never overwritten unasked', async () => {
    const before = readFileSync(inPlace('authority.key'), 'utf8')
    const refused = await certs('authority', '--out-dir', place)
    expect(refused.code).toBe(1)
    expect(refused.stderr).toContain('hint: Nothing was written. Name another place, or add --force')
    expect(readFileSync(inPlace('authority.key'), 'utf8')).toBe(before)
  })

  it('are refused for half of a pair, and for names that are none', async () => {
    const other = join(folder, 'other')
    mkdirSync(other)
    await certs('authority', '--out-dir', other)
    writeFileSync(join(other, 'authority.crt'), readFileSync(inPlace('authority.crt')))
    const mixed = await certs('tracker-tls', '--authority-dir', other, '--out-dir', other)
    expect(mixed).toMatchObject({ code: 1 })
    expect(mixed.stderr).toContain('do not belong together')
    const url = await certs(
      'tracker-tls',
      '--authority-dir',
      place,
      '--out-dir',
      other,
      '--name',
      'https://x',
    )
    expect(url.code).toBe(2)
    expect(existsSync(join(other, 'tracker.key'))).toBe(false)
  })

  it('replace each other with --force', async () => {
    const again = join(folder, 'again')
    await certs('authority', '--out-dir', again, '--name', 'One', '--days', '1')
    const before = readFileSync(join(again, 'authority.crt'), 'utf8')
    expect((await certs('authority', '--out-dir', again, '--force')).code).toBe(0)
    expect(readFileSync(join(again, 'authority.crt'), 'utf8')).not.toBe(before)
  })
})

describe('an unlock key', () => {
  it('is 256 random bits in a file of its owner’s, and never printed', async () => {
    const paths = [join(folder, 'one.key'), join(folder, 'two.key')]
    for (const out of paths) {
      const made = await certs('unlock-key', '--out', out)
      expect(made.code).toBe(0)
      expect(made.stdout + made.stderr).not.toContain('SHOALKEY-1-')
      expect(modeOf(out)).toBe(0o600)
    }
    const keys = paths.map((path) => readFileSync(path, 'utf8'))
    expect(keys[0]).toMatch(/^SHOALKEY-1-[\w-]{43}\n$/)
    expect(keys[0]).not.toBe(keys[1])
  })

  it('keeps its mode whatever the umask and the file that was there', async () => {
    const out = join(folder, 'open.key')
    writeFileSync(out, 'old')
    chmodSync(out, 0o666)
    expect((await certs('unlock-key', '--out', out, '--force')).code).toBe(0)
    expect(modeOf(out)).toBe(0o600)
  })
})

describe('wrong use', () => {
  it.each([
    [['certs', 'inspet'], 2, 'Did you mean shoal certs inspect?'],
    [['certs', 'authority', '--out', 'x'], 2, 'Did you mean --out-dir?'],
    [['certs', 'authority', 'extra'], 2, 'Usage: shoal certs authority'],
    [['certs', 'authority', '--days', '0'], 2, 'Write 1 to'],
    [['certs', 'authority', '--out-dir', '/dev/null/nowhere'], 1, 'may write there'],
    [['admin', 'cluster', 'create'], 2, 'Usage: shoal admin cluster create <name>'],
    [['admin', 'token', 'rotate', 'main'], 2, 'as in the join token'],
    [['certs', 'tracker-tls', '--authority-dir', '/nonexistent'], 1, 'Check the path'],
    [['admin', 'cluster', 'create', 'main', '--admin-pem', '/nonexistent'], 1, 'Check the path'],
  ])('%j ends with %d and the hint: %s', async (argv, code, hint) => {
    const outcome = await runShoal(argv)
    expect(outcome.stderr).toMatch(/^shoal: [^\n]+\nhint: [^\n]+\n$/)
    expect(outcome.stderr).toContain(hint)
    expect(outcome).toMatchObject({ code, stdout: '' })
  })

  it('of the admin API: a tracker that is not there', async () => {
    const place = join(folder, 'admin')
    await certs('authority', '--out-dir', place)
    const [key, certificate] = ['authority.key', 'authority.crt'].map((name) =>
      readFileSync(join(place, name), 'utf8'),
    )
    const pem = join(place, 'admin.pem')
    writeFileSync(pem, `${key}${certificate}${certificate}`)
    const overTls = ['--admin-pem', pem, '--admin-url', 'https://127.0.0.1:9']
    const outcome = await runShoal(['admin', 'cluster', 'create', 'main', ...overTls])
    expect(outcome).toMatchObject({ code: 1, stdout: '' })
    expect(outcome.stderr).toContain('ECONNREFUSED')
    expect(outcome.stderr).toContain('hint: ')
  })
})
