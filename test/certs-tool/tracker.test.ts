import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeKey } from '../../client/membership/node-identity.ts'
import type { TrackerClient } from '../../client/membership/tracker-client.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { runShoal, type StartedShoal, startShoal } from '../cli/run-shoal.ts'
import { unwatchedTracker } from '../client/membership/unwatched-tracker.ts'

/** What an operator does to a running tracker, from outside: programs, files, standard input. */

const folder = mkdtempSync(join(tmpdir(), 'shoal-operator-'))
const inFolder = (name: string) => join(folder, name)
const dataDir = inFolder('data')
let ports: { listen: number; admin: number }
let running: StartedShoal | undefined

const certs = (...argv: string[]) => runShoal(['certs', ...argv])
const administer = (...argv: string[]) => runShoal(['admin', ...argv, `--data-dir=${dataDir}`])

/** Starts the tracker, and waits until its log says `ready`. */
async function start(ready: string, ...flags: string[]): Promise<void> {
  running = startShoal([
    'tracker',
    `--data-dir=${dataDir}`,
    `--tls-cert-file=${inFolder('tracker.crt')}`,
    `--tls-key-file=${inFolder('tracker.key')}`,
    `--listen=127.0.0.1:${ports.listen}`,
    `--admin-listen=127.0.0.1:${ports.admin}`,
    ...flags,
  ])
  await logged(ready)
}

async function logged(text: string): Promise<void> {
  let log = ''
  running!.child.stderr!.on('data', (chunk: string) => {
    log += chunk
  })
  await expect.poll(() => log, { timeout: 30_000 }).toContain(text)
}

async function stop(): Promise<void> {
  running?.child.kill('SIGTERM')
  await running?.outcome
  running = undefined
}

function newTracker(): TrackerClient {
  const trackerCaPem = readFileSync(inFolder('authority.crt'), 'utf8')
  return unwatchedTracker({ trackerUrl: `https://localhost:${ports.listen}`, trackerCaPem })
}

async function joinWith(joinToken: string): Promise<string> {
  const tracker = newTracker()
  const publicKey = makeKey().spki.toString('base64url')
  try {
    await tracker.join({ joinToken: joinToken.trim(), publicKey })
    return 'joined'
  } catch (error) {
    return (error as { trackerCode?: string }).trackerCode ?? (error as Error).message
  } finally {
    await tracker.close()
  }
}

describe('an operator', () => {
  let joinToken: string
  let cluster: string

  beforeAll(async () => {
    ports = { listen: await freePort(), admin: await freePort() }
    for (const argv of [
      ['authority', '--out-dir', folder],
      ['tracker-tls', '--authority-dir', folder, '--out-dir', folder],
      ['unlock-key', '--out', inFolder('unlock.key')],
    ]) {
      expect(await certs(...argv)).toMatchObject({ code: 0 })
    }
  })
  afterAll(async () => {
    await stop()
    rmSync(folder, { recursive: true, force: true })
  })

  it('cannot start a new tracker without an unlock key, and is told so', async () => {
    const flags = [`--tls-cert-file=${inFolder('tracker.crt')}`, `--tls-key-file=${inFolder('tracker.key')}`]
    const outcome = await runShoal(['tracker', `--data-dir=${dataDir}`, '--listen=127.0.0.1:0', ...flags])
    expect(outcome.code).toBe(1)
    expect(outcome.stderr).toContain('hint: Start it once with --unlock-key-file')
  })

  it('makes a cluster with a join token that ends by itself', async () => {
    await start('the tracker is ready', `--unlock-key-file=${inFolder('unlock.key')}`)
    const made = await administer('cluster', 'create', 'main', '--valid-hours', '2')
    expect(made).toMatchObject({ code: 0, stderr: '' })
    joinToken = made.stdout
    cluster = joinToken.split('-')[2]!
    expect(await joinWith(joinToken)).toBe('joined')
    expect((await administer('cluster', 'create', 'other', '--valid-hours', '0')).code).toBe(2)
  })

  it('replaces the join token: the old one is refused at once, the new one joins', async () => {
    const replaced = await administer('token', 'rotate', cluster)
    expect(replaced.code).toBe(0)
    expect(await joinWith(joinToken)).toBe('JOIN_TOKEN_REVOKED')
    joinToken = replaced.stdout
    expect(await joinWith(joinToken)).toBe('joined')
  })

  it('changes the authority of the cluster, once at a time', async () => {
    const begun = await administer('key', 'rotate', 'authority', cluster)
    expect(begun).toMatchObject({ code: 0, stderr: '' })
    expect(begun.stdout).toMatch(/issues from 20\d\d-\S+ \S+ UTC on/)
    for (const [flags, hint] of [
      [[], '--withdraw does it now'],
      [['--withdraw'], 'nodes renew by themselves'],
      [['--force'], 'Nothing was changed'],
      [['--withdraw', '--leaked'], 'Nothing was changed'],
      [['--leaked'], '--withdraw does it now'],
    ] as const) {
      const refused = await administer('key', 'rotate', 'authority', cluster, ...flags)
      expect(refused.code).not.toBe(0)
      expect(refused.stderr).toContain(hint)
    }
    expect(await joinWith(joinToken)).toBe('joined')
  })

  it('seals the secrets anew under another unlock key, and no key is printed', async () => {
    await certs('unlock-key', '--out', inFolder('next.key'))
    const wrong = await administer('reseal', `--unlock-key-file=${inFolder('next.key')}`)
    expect(wrong.code).toBe(1)
    expect(wrong.stderr).toContain('hint: Give the key that this tracker is unlocked with now.')
    const keys = [
      `--unlock-key-file=${inFolder('unlock.key')}`,
      `--new-unlock-key-file=${inFolder('next.key')}`,
    ]
    const sealed = await administer('reseal', ...keys)
    expect(sealed.code).toBe(0)
    // One cluster with two authorities, a batch key and two join tokens, one of them withdrawn; and the admin authority.
    expect(sealed.stdout).toContain('sealed anew: 6 secrets')
    expect(sealed.stdout + sealed.stderr).not.toContain('SHOALKEY')
  })

  it('changes a leaked authority: a node that joined before is not renewed, and joins again', async () => {
    const made = await administer('cluster', 'create', 'leaky')
    const tracker = newTracker()
    const { privateKeyPem, spki } = makeKey()
    const publicKey = spki.toString('base64url')
    const { certificate } = await tracker.join({ joinToken: made.stdout.trim(), publicKey })
    tracker.identify({ certificatePem: certificate, privateKeyPem })
    await tracker.join({ publicKey })
    const begun = await administer('key', 'rotate', 'authority', made.stdout.split('-')[2]!, '--leaked')
    expect(begun).toMatchObject({ code: 0, stderr: '' })
    expect(begun.stdout).toContain('every node joins again with the join token')
    await expect(tracker.join({ publicKey })).rejects.toMatchObject({ trackerCode: 'CERTIFICATE_REFUSED' })
    await tracker.join({ joinToken: made.stdout.trim(), publicKey })
    await tracker.close()
  })

  it('starts it without a key: it stays locked, says so to nodes, and takes the right key from standard input', async () => {
    await stop()
    await start('the tracker is locked')
    expect(await joinWith(joinToken)).toBe('TRACKER_LOCKED')
    expect(statSync(join(dataDir, 'unlock.sock')).mode & 0o777).toBe(0o600)
    const closed = await administer('token', 'rotate', cluster)
    expect(closed.stderr).toContain('shoal tracker unlock')

    const unlock = (name: string) =>
      runShoal(['tracker', 'unlock', `--data-dir=${dataDir}`], {
        input: readFileSync(inFolder(name), 'utf8'),
      })
    const wrong = await unlock('unlock.key')
    expect(wrong).toMatchObject({ code: 1, stdout: '' })
    expect(await joinWith(joinToken)).toBe('TRACKER_LOCKED')
    const right = await unlock('next.key')
    expect(right).toMatchObject({ code: 0, stderr: '', stdout: 'the tracker is unlocked\n' })
    expect(await joinWith(joinToken)).toBe('joined')
    expect((await administer('token', 'rotate', cluster)).code).toBe(0)

    const again = await unlock('next.key')
    expect(again.code).toBe(1)
    expect(again.stderr).toContain('while the tracker waits for its key')
  })

  it('stops it while it is locked, as ever', async () => {
    await stop()
    await start('the tracker is locked')
    running!.child.kill('SIGTERM')
    expect((await running!.outcome).code).toBe(0)
    running = undefined
  })
})
