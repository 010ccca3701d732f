import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { LISTED_MAX, listing, redacted } from '../../cli/bugreport-parts.ts'
import { TarReader } from '../../lab/image/tar.ts'
import { runShoal } from './run-shoal.ts'

/** Secrets as they may stand in settings and logs; none may be in the archive. */
const CANARY = 'CANARYcanary0123456789'
const b64 = (text: string) => Buffer.from(text).toString('base64url')
const SECRETS = [
  `SHOAL-1-c0123456789abcdef-${CANARY}${'A'.repeat(43)}`,
  `SHOALJOIN-1-${CANARY}${'B'.repeat(60)}`,
  `SHOALKEY-1-${CANARY}${'C'.repeat(43)}`,
  `${b64('{"alg":"ES256"}')}.${b64(`{"sub":"${CANARY}"}`)}.${CANARY}`,
  `Authorization: Bearer ${CANARY}`,
  `authorization: Basic ${CANARY}==`,
  `http://user:${CANARY}@proxy.example.com:3128`,
  `https://store.example.com/blob?X-Amz-Signature=${CANARY}`,
  `-----BEGIN PRIVATE KEY-----\n${CANARY}\n-----END PRIVATE KEY-----`,
  `{"auths":{"registry.example.com":{"auth":"${CANARY}"}}}`,
  `{"password": "${CANARY} ${CANARY}", "identitytoken":"${CANARY}"}`,
  `REGISTRY_PASSWORD=${CANARY}`,
  `Set-Cookie: ${CANARY}`,
]

let folder: string
let dataDir: string
let env: Record<string, string>
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-report-'))
  dataDir = join(folder, 'data')
  const programs = join(folder, 'bin')
  for (const dir of [dataDir, programs]) mkdirSync(dir)
  writeFileSync(join(dataDir, 'node-key.pem'), SECRETS[8]!, { mode: 0o600 })
  writeFileSync(join(folder, 'log'), `line one\n${SECRETS.join('\n')}\nthe last line\n`)
  writeFileSync(join(programs, 'journalctl'), `#!/bin/sh\ncat ${folder}/log\n`, { mode: 0o755 })
  const settings = {
    upstreamProxy: SECRETS[6],
    joinTokenFile: '/etc/shoal/join-token',
    note: SECRETS[0],
    dataDir,
  }
  writeFileSync(join(folder, 'node.json'), JSON.stringify(settings, null, 2))
  env = { PATH: `${programs}:${process.env.PATH}` }
})
afterAll(() => rmSync(folder, { recursive: true }))

const report = (...argv: string[]) =>
  runShoal(
    ['bugreport', '--config-file', join(folder, 'node.json'), '--control', join(folder, 'none'), ...argv],
    { env },
  )

function contentsOf(path: string): Record<string, string> {
  const chunks: Record<string, Buffer[]> = {}
  const reader = new TarReader((name) => {
    const own: Buffer[] = []
    chunks[name] = own
    return { data: (chunk) => void own.push(Buffer.from(chunk)), end: () => undefined }
  })
  reader.push(gunzipSync(readFileSync(path)))
  return Object.fromEntries(
    Object.entries(chunks).map(([name, own]) => [name, Buffer.concat(own).toString()]),
  )
}

describe('shoal bugreport', () => {
  it('lists what it packs, also without a node, and no secret is in it', async () => {
    const path = join(folder, 'report.tar.gz')
    const { code, stdout, stderr } = await report('--yes', '--output', path)
    expect([code, stderr]).toEqual([0, ''])
    const contents = contentsOf(path)
    for (const name of Object.keys(contents)) expect(stdout).toContain(name.replace('shoal-bugreport/', ''))
    expect(Object.keys(contents).length).toBeGreaterThanOrEqual(11)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    const all = Object.values(contents).join('\n')
    expect(all).not.toContain(CANARY)
    expect(all).not.toContain(b64(`{"sub":"${CANARY}"}`))
    expect(contents['shoal-bugreport/log.txt']).toMatch(/^line one\n[\s\S]*the last line\n$/)
    expect(contents['shoal-bugreport/settings.json']).toContain('/etc/shoal/join-token')
    expect(contents['shoal-bugreport/data-folder.txt']).toContain('- 0600')
    expect(contents['shoal-bugreport/status.json']).toContain('not available: no node answers')
    expect(await report('--yes', '--output', path)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('--output'),
    })
  })

  it('packs the settings that the environment names', async () => {
    const path = join(folder, 'named.tar.gz')
    const own = { ...env, SHOAL_NODE_CONFIG_FILE: join(folder, 'node.json') }
    const argv = ['bugreport', '--yes', '--control', join(folder, 'none'), '--output', path]
    expect(await runShoal(argv, { env: own })).toMatchObject({ code: 0 })
    expect(contentsOf(path)['shoal-bugreport/settings.json']).toContain('/etc/shoal/join-token')
  })

  it('writes nothing when nobody agrees', async () => {
    const path = join(folder, 'declined.tar.gz')
    const declined = await report('--output', path)
    expect(declined).toMatchObject({ code: 1, stdout: expect.stringContaining('log.txt') })
    expect(declined.stderr).toContain('--yes')
    expect(existsSync(path)).toBe(false)
  })
})

it.each(SECRETS)('%s is taken out of a text', (secret) => {
  expect(redacted(`before ${secret} after`)).not.toContain(CANARY)
})

it('what is no secret stays, and a long line takes no long time', () => {
  const plain =
    '{"unlockKeyFile": "/etc/shoal/unlock.key", "tokens": 5, "digest": "sha256:00ff", "isAuth": true}'
  expect(redacted(plain)).toBe(plain)
  const startMs = performance.now()
  redacted(`${'password'.repeat(40_000)} ${'a.b-c_'.repeat(60_000)}`)
  expect(performance.now() - startMs).toBeLessThan(2000)
})

describe('the list of the data folder', () => {
  it('goes into no folder behind a link, and round no circle, which the node’s user may have put there', () => {
    const own = mkdtempSync(join(folder, 'own-'))
    const roots = mkdtempSync(join(folder, 'roots-'))
    writeFileSync(join(roots, 'secret-name'), '')
    mkdirSync(join(own, 'blobs'))
    writeFileSync(join(own, 'blobs', 'piece'), '')
    symlinkSync(roots, join(own, 'a'))
    symlinkSync('.', join(own, 'b'))
    symlinkSync(roots, join(own, 'blobs', 'c'))
    const text = listing(own)
    expect(text).toContain('"blobs/piece"')
    expect(text).toMatch(/^l .*"a"$/m)
    expect(text).not.toContain('secret-name')
    expect(text.trim().split('\n')).toHaveLength(5)
  })

  it('ends', () => {
    const full = mkdtempSync(join(folder, 'full-'))
    for (let at = 0; at <= LISTED_MAX; at += 1) writeFileSync(join(full, String(at)), '')
    const lines = listing(full).trim().split('\n')
    expect([lines.length, lines.at(-1)]).toEqual([LISTED_MAX + 1, 'and more'])
  })
})
