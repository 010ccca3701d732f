import {
  chownSync,
  lchownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect } from 'vitest'
import { makeKey, NodeIdentity } from '../../client/membership/node-identity.ts'
import { BlobStore } from '../../client/store/blob-store.ts'
import { CredentialsSeen } from '../../core/credentials-seen.ts'
import { lockDataDir } from '../../core/data-lock.ts'
import { parseRegistryHost } from '../../core/repository.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { TrustFiles } from '../../proxy/trust-files.ts'
import { removeAdminPem } from '../../tracker/admin/admin-authority.ts'
import { SqliteStore } from '../../tracker/store/sqlite-store.ts'
import { runShoal } from '../cli/run-shoal.ts'
import { attackTest, controlTest } from './ledger.ts'
import { loot } from './loot.ts'

/** Somebody who prepares the folder in which Shoal is to keep its data, with links to what only root may change. */
const NOBODY = 65534
const SWARM = 'a'.repeat(40)
const CONTENTS = 'important'.repeat(20)
const registry = parseRegistryHost('registry.example')

let folder: string
const data = (...names: string[]) => join(folder, 'data', ...names)
const victim = (...names: string[]) => join(folder, 'victim', ...names)
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-planted-'))
  mkdirSync(data(), { mode: 0o700 })
  mkdirSync(victim('sub'), { recursive: true })
  writeFileSync(victim('file'), CONTENTS, { mode: 0o600 })
  writeFileSync(victim('sub', 'file'), CONTENTS)
})
afterEach(() => rmSync(folder, { recursive: true }))

/** What is gone of the victim's files, or was read from them, is what the attacker has got. */
function expectUntouched(): void {
  for (const path of [victim('file'), victim('sub', 'file')]) {
    const left = readOr(path)
    if (left !== CONTENTS) loot.bytes += CONTENTS.length
    expect(left).toBe(CONTENTS)
  }
  expect(readdirSync(victim(), { recursive: true }).sort()).toEqual(['file', 'sub', 'sub/file'])
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return 'gone'
  }
}

/** What Shoal does with a data folder, each with the names that it uses in there. */
const uses: Record<string, { names: string[]; run: () => unknown }> = {
  'the lock': { names: ['lock', 'lock.new'], run: () => lockDataDir(data())() },
  'the node’s key': {
    names: ['node-key.pem', 'node-key.pem.new', 'node.pem'],
    run: () => NodeIdentity.load(data()),
  },
  'the list of credentials seen': {
    names: ['credentials-seen.json', 'credentials-seen.json.new'],
    run: () => {
      const registries = new Map([[registry, { kind: 'none' }]]) as never
      const log = { error: () => undefined }
      new CredentialsSeen({ registries, dataDir: data(), log, onNotOpen: () => undefined }).note(registry)
    },
  },
  'the blob store': {
    names: ['blobs', `blobs/${SWARM}`, `blobs/${SWARM}/data`, `blobs/${SWARM}/state.json`, 'blobs/other'],
    run: async () => {
      const store = await BlobStore.open(data('blobs'), 1e9)
      const key = { registry, digest: `sha256:${'0'.repeat(64)}` }
      const blob = { swarm: SWARM, key, bytes: 1000, repository: 'team/app' } as never
      const { created } = await store.create(blob, () => false)
      await created.save()
      await created.delete()
      await store.close()
    },
  },
  'the database': {
    names: ['', '-wal', '-shm', '-journal'].map((suffix) => `tracker.sqlite${suffix}`),
    run: () => new SqliteStore(data('tracker.sqlite')).close(),
  },
  'admin.pem': {
    names: ['admin.pem', 'admin.pem.new'],
    run: () => removeAdminPem(data(), { warn: () => undefined }),
  },
  'the trust files': {
    names: ['proxy-ca.crt', `proxy-ca.crt.${process.pid}.new`, `certs.d/${registry}/shoal.crt`],
    run: () => {
      const trust = new TrustFiles({
        registries: [registry],
        dockerCertsDir: data('certs.d'),
        authorityFile: data('proxy-ca.crt'),
      })
      trust.put('a certificate')
      trust.put('the next one')
      trust.remove()
    },
  },
}

for (const [what, { names, run }] of Object.entries(uses)) {
  for (const name of names) {
    for (const kind of ['a link', 'a second name'] as const) {
      if (kind === 'a second name' && ['blobs', `blobs/${SWARM}`].includes(name)) continue
      attackTest(`${what} changes nothing behind ${kind} as ${name}`, async () => {
        mkdirSync(join(data(name), '..'), { recursive: true, mode: 0o700 })
        if (kind === 'a second name') linkSync(victim('file'), data(name))
        else symlinkSync(['blobs', `blobs/${SWARM}`].includes(name) ? victim() : victim('file'), data(name))
        // Refuses, or takes the link away: both are right.
        await Promise.resolve()
          .then(run)
          .catch((error: { code?: string }) => expect(['DATA_FOLDER', 'TRUST_FILE']).toContain(error.code))
        expectUntouched()
      })
    }
  }
}

if (!mustSkipFor(['root'])) {
  const argumentsOf: Record<string, string[]> = {
    node: ['--tracker-url=https://127.0.0.1:1', '--registries=registry.example', '--docker-certs-dir=none'],
    up: ['--registries=registry.example', '--docker-certs-dir=none', '--listen=127.0.0.1:0'],
  }
  for (const [program, rest] of Object.entries(argumentsOf)) {
    attackTest(
      `shoal ${program}, started by root, touches nothing behind a folder that he prepared`,
      async () => {
        for (const name of ['blobs', 'node', 'tracker']) symlinkSync(victim(), data(name))
        for (const name of readdirSync(data())) lchownSync(data(name), NOBODY, NOBODY)
        chownSync(data(), NOBODY, NOBODY)
        const { code, stderr } = await runShoal([program, `--data-dir=${data()}`, ...rest])
        expect({ code, stderr }).toEqual({
          code: 2,
          stderr: expect.stringMatching(/belongs to user 65534\nhint: /),
        })
        expectUntouched()
        expect(readdirSync(data()).sort()).toEqual(['blobs', 'node', 'tracker'])
      },
    )
  }

  attackTest('a node takes no key that he wrote, and so knows', async () => {
    const { privateKeyPem } = makeKey()
    writeFileSync(data('node-key.pem'), privateKeyPem)
    chownSync(data('node-key.pem'), NOBODY, NOBODY)
    await expect(NodeIdentity.load(data())).rejects.toMatchObject({ code: 'DATA_FOLDER' })
  })
}

controlTest('in a folder of its own each of them does its work', async () => {
  for (const { run } of Object.values(uses)) await run()
  expect(readdirSync(data()).sort()).toEqual([
    'blobs',
    'credentials-seen.json',
    'node-key.pem',
    'node-machine',
    'proxy-ca.crt',
    'tracker.sqlite',
  ])
  loot.bytes += readFileSync(data('node-key.pem')).length
})
