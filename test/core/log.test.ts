import { spawnSync } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { SignJWT } from 'jose'
import { beforeAll, describe, expect, it } from 'vitest'
import { InvalidInputError, ListenFailedError } from '../../core/errors.ts'
import { createLog } from '../../core/log.ts'
import { scrubSecrets } from '../../core/scrub-secrets.ts'

const LOG_LINES = fileURLToPath(new URL('./log-lines.ts', import.meta.url))

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
const jwt = await new SignJWT({ access: [] })
  .setProtectedHeader({ alg: 'ES256' })
  .setSubject('a')
  .sign(privateKey)
const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
const secrets = {
  jwt,
  bearer: `Bearer ${randomBytes(24).toString('base64url')}`,
  pem,
  sec1: privateKey.export({ type: 'sec1', format: 'pem' }) as string,
  rsa: rsa.export({ type: 'pkcs1', format: 'pem' }) as string,
  cutPem: pem.slice(0, 120),
  joinToken: `SHOAL-1-c0123456789abcdef-${randomBytes(32).toString('base64url')}`,
  unlockKey: `SHOALKEY-1-${randomBytes(32).toString('base64url')}`,
}
const password = randomBytes(12).toString('hex')
const signature = randomBytes(32).toString('hex')
const links = {
  userInfo: `https://alice:${password}@registry.example/v2/`,
  authority: `alice:p@${password}@registry.example:443`,
  tokenAsUser: `http://${password}@registry.example`,
  signedUrl: `https://store.example/b?X-Amz-Date=1&X-Amz-Signature=${signature}#end`,
  signedPath: `/b?verify=${signature}`,
}
Object.assign(secrets, links)
const opaque = randomBytes(24).toString('base64url')

/** The parts of each secret that must be nowhere, in any line. */
const telltales = {
  'the signature of a token': jwt.split('.')[2]!,
  'the payload of a token': jwt.split('.')[1]!,
  'a bearer credential': secrets.bearer.slice('Bearer '.length),
  'a private key (PKCS#8)': pem.split('\n')[1]!,
  'a private key (SEC 1)': secrets.sec1.split('\n')[1]!,
  'a private key (PKCS#1)': secrets.rsa.split('\n')[3]!,
  'a private key that is cut': secrets.cutPem.split('\n')[1]!,
  'a join token': secrets.joinToken.slice(-43),
  'user info of a URL or a target': password,
  'a signature in a query': signature,
  'an unlock key': secrets.unlockKey.slice(-43),
  'a value in a field with a secret’s name': opaque,
  'the bytes of a key': [...Buffer.from(opaque)].join(','),
}

describe('the log of a real process', () => {
  let output = { stdout: '', stderr: '' }
  beforeAll(() => {
    const input = JSON.stringify({ ...secrets, opaque: `Bearer ${opaque}` })
    const child = spawnSync(process.execPath, [LOG_LINES], { input, encoding: 'utf8' })
    expect(child.status).toBe(0)
    output = child
  })

  it.each(Object.entries(telltales))('never holds %s', (_what, telltale) => {
    expect(telltale.length).toBeGreaterThan(10)
    expect(output.stderr).not.toContain(telltale)
  })

  it('is one JSON object a line on standard error, with level, time, name and message', () => {
    const lines = output.stderr.trim().split('\n')
    expect(lines.length).toBeGreaterThan(60)
    for (const line of lines) {
      const entry = JSON.parse(line)
      expect(entry).toMatchObject({
        name: 'test',
        level: expect.any(String),
        time: expect.stringMatching(/Z$/),
      })
    }
    expect(output.stdout).toBe('')
  })

  it('keeps facts, and says that something was taken out', () => {
    expect(output.stderr).toContain('"digest":"sha256:0f0f","peer":"10.0.0.1:7071","msg":"facts stay"')
    expect(output.stderr).toContain('[redacted]')
    expect(output.stderr).toContain('SHOAL-1-c0123456789abcdef-[redacted]')
  })
})

describe('an error in a log', () => {
  function logged(err: unknown): Record<string, unknown> {
    let line = ''
    createLog({ level: 'info', name: 'test', destination: { write: (text) => (line = text) } }).info(
      { err },
      'x',
    )
    return JSON.parse(line).err
  }

  it('that was expected is its code and its reason, with those of its causes, and no stack', () => {
    const refused = Object.assign(new Error('connect ECONNREFUSED'), {
      code: 'ECONNREFUSED',
      syscall: 'connect',
    })
    const cause = new AggregateError([refused])
    expect(logged(new ListenFailedError('adminListen', { host: 'h', port: 1 }, refused))).toEqual({
      code: 'LISTEN_FAILED',
      reason: 'adminListen cannot listen on h:1: connect ECONNREFUSED',
    })
    expect(logged(new InvalidInputError('no answer', { cause }))).toEqual({
      code: 'INVALID_INPUT',
      reason: 'no answer: connect ECONNREFUSED',
    })
    expect(logged(refused)).toEqual({ code: 'ECONNREFUSED', reason: 'connect ECONNREFUSED' })
  })

  it('that is a defect, or that a defect caused, keeps its stack', () => {
    const defect = new TypeError('x is undefined')
    expect(logged(defect)).toMatchObject({ type: 'TypeError', stack: expect.stringContaining('log.test') })
    expect(logged(new InvalidInputError('odd', { cause: defect })).stack).toContain('x is undefined')
    expect(logged(new Error('nobody expected this')).stack).toContain('log.test')
  })
})

describe('scrubbing', () => {
  it.each([
    'sha256:eyJ0',
    'the key eyJhbGciOi.only-two',
    'a.b.c',
    'registry.example.com',
    '-----BEGIN CERTIFICATE-----',
    'https://registry.example:5000/v2/team/app',
    'registry.example:5000/team/app:v1@sha256:0f0f',
    'app:v1@sha256:0f0f',
    'bob@example.com',
    'why? because',
  ])('leaves alone what is no secret: %s', (text) => {
    expect(scrubSecrets(text)).toBe(text)
  })

  it('takes time linear in the length of the line', () => {
    const openings = ['eyJ', 'eyJa.', 'Bearer ', 'Basic', '-----BEGIN PRIVATE KEY-----\\']
    for (const part of [...openings, 'a', 'a:', '@', 'a:@', '://', 'a://a@', '?', '?a', '?a=', '&a=b']) {
      const startedAt = performance.now()
      scrubSecrets(part.repeat(100_000))
      expect([part, performance.now() - startedAt < 1000]).toEqual([part, true])
    }
  })
})
