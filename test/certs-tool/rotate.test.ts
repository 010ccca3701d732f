import { statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runShoal } from '../cli/run-shoal.ts'
import { startWorld, type World } from '../tracker/test-tracker.ts'

/** What an operator does about keys, from outside: programs and files. */
describe('shoal admin key rotate', () => {
  let world: World
  let cluster: string
  beforeAll(async () => {
    world = await startWorld()
    cluster = (await world.makeCluster()).cluster
  })
  afterAll(() => world.close())

  const admin = (...argv: string[]) => runShoal(['admin', ...argv])
  const administer = (...argv: string[]) => admin(...argv, `--data-dir=${world.dataDir}`)

  it.each([
    [
      'authority',
      /^the new authority of c\w{16} issues from 20\d\d-\S+ \S+ UTC on; nodes renew by themselves\n/,
    ],
    [
      'signing-key',
      /^the new signing key of c\w{16} signs from 20\d\d-\S+ \S+ UTC on; nodes renew by themselves\n/,
    ],
  ])('begins a change of the %s, once at a time, and ends it when nodes have renewed', async (what, said) => {
    world.clockOffsetMs = 0
    const begun = await administer('key', 'rotate', what, cluster)
    expect(begun).toMatchObject({ code: 0, stderr: '' })
    expect(begun.stdout).toMatch(said)
    for (const [flags, hint] of [
      [[], '--withdraw does it now'],
      [['--withdraw', '--force'], 'nodes renew by themselves'],
      [['--withdraw', '--leaked'], 'Nothing was changed'],
      [['--force'], 'Nothing was changed'],
    ] as const) {
      const refused = await administer('key', 'rotate', what, cluster, ...flags)
      expect(refused.code).not.toBe(0)
      expect(refused.stderr).toContain(hint)
    }
    world.clockOffsetMs = 31_000
    expect(await administer('key', 'rotate', what, cluster, '--withdraw')).toMatchObject({
      code: 0,
      stderr: '',
    })
  })

  it('obeys its names of former times, and says what there is to rotate', async () => {
    const begun = await runShoal([
      ...['certs', 'rotate-authority', cluster, '--leaked'],
      `--data-dir=${world.dataDir}`,
    ])
    expect(begun.stdout).toContain('every node joins again with the join token')
    expect(begun.stderr).toBe(
      'shoal: `shoal certs rotate-authority` is now `shoal admin key rotate authority`\n',
    )
    const bare = await admin('key', 'rotate')
    expect(bare).toMatchObject({ code: 2, stdout: '' })
    for (const what of ['authority', 'signing-key', 'admin']) expect(bare.stderr).toContain(`\n  ${what} `)
    expect((await runShoal(['certs', 'rotate', 'admin', '--help'])).stdout).toContain(
      'Usage: shoal admin key rotate admin [flags]',
    )
  })

  it('ends administrators’ certificates, which the socket gives out for some hours', async () => {
    const pem = join(world.dataDir, '../given.pem')
    const made = await administer('certificate', `--out=${pem}`)
    expect(made).toMatchObject({ code: 0, stderr: '' })
    expect(statSync(pem).mode & 0o777).toBe(0o600)
    const [own, issuer] = JSON.parse((await runShoal(['certs', 'inspect', '--json', pem])).stdout)
    expect([own.kind, issuer.kind]).toEqual(['admin', 'admin-authority'])
    expect(Date.parse(own.validTo) - Date.now()).toBeLessThan(3600_000)
    const { port } = world.tracker.adminAddress
    const overTls = [`--admin-url=https://127.0.0.1:${port}`, `--admin-pem=${pem}`]
    expect(await admin('cluster', 'create', 'remote', ...overTls)).toMatchObject({ code: 0, stderr: '' })
    expect((await administer('certificate', '--valid-hours=25')).code).toBe(2)

    const ended = await administer('key', 'rotate', 'admin', '--leaked')
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    expect(ended.stdout).toContain('all certificates of earlier ones have ended')
    expect(await admin('cluster', 'create', 'remoter', ...overTls)).toMatchObject({ code: 1, stdout: '' })
    expect((await administer('key', 'rotate', 'admin')).stdout).toContain('or before by --withdraw')
    expect((await administer('key', 'rotate', 'admin', '--withdraw')).code).toBe(0)
    expect((await administer('key', 'rotate', 'admin', '--withdraw')).stderr).toContain('Without --withdraw')
  })

  it('says where it looked for the tracker, and what to do, when there is none', async () => {
    const outcome = await admin('key', 'rotate', 'admin', '--data-dir=/nonexistent')
    expect(outcome).toMatchObject({ code: 1, stdout: '' })
    expect(outcome.stderr).toContain('/nonexistent/admin.sock (ENOENT)')
    expect(outcome.stderr).toContain('hint: Run this on the tracker’s machine')
  })
})
