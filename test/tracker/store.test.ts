import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ClusterId } from '../../core/metainfo.ts'
import { MIGRATIONS } from '../../tracker/store/schema.ts'
import { SqliteStore } from '../../tracker/store/sqlite-store.ts'
import { storeContract } from './store-contract.ts'

storeContract('SQLite in memory', async () => new SqliteStore(':memory:'))

describe('a SQLite store in a file', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'shoal-store-'))
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  it('is there again after it was closed, and only its owner may read it', async () => {
    const path = join(folder, 'again.sqlite')
    const first = new SqliteStore(path)
    await first.putSealedDataKey(Buffer.from([1]))
    const modes = readdirSync(folder).map((name) => statSync(join(folder, name)).mode & 0o777)
    expect(new Set(modes)).toEqual(new Set([0o600]))
    await first.close()
    const second = new SqliteStore(path)
    expect(await second.sealedDataKey()).toEqual(Buffer.from([1]))
    await second.close()
  })

  it('takes over what an earlier version wrote: its nodes renew, its join token counts, its revocations stay without an end', async () => {
    const path = join(folder, 'earlier.sqlite')
    const earlier = new DatabaseSync(path)
    earlier.exec(`${MIGRATIONS[0]}; PRAGMA user_version = 1;
      INSERT INTO nodes VALUES ('c0', 'n0', '10.0.0.1', 1, 1);
      INSERT INTO revocations (cluster, kind, target, at_ms) VALUES ('c0', 'node', 'n1', 2);
      INSERT INTO clusters VALUES ('c0', 'main', 1, x'0102', 77);`)
    earlier.close()
    const store = new SqliteStore(path)
    const audit = { atMs: 3, actor: 'tracker', action: 'renewed', cluster: null, target: 'n0' }
    const [node] = await store.nodes()
    expect(await store.renewNode({ ...node!, renewedAtMs: 3 }, audit)).toBe(true)
    const { inForce } = await store.revocations()
    expect(inForce).toMatchObject([{ target: 'n1', tokenHash: null, endsAtMs: null, isLeft: false }])
    expect(await store.joinTokens('c0' as ClusterId)).toMatchObject([
      { sealedHash: Buffer.from([1, 2]), validUntilMs: 77, usesMax: null, uses: 0, withdrawnAtMs: null },
    ])
    await store.close()
  })

  it('is refused when it is no database', () => {
    const path = join(folder, 'text.sqlite')
    writeFileSync(path, 'this is not a database, but it is long enough to look like a file that could be one')
    expect(() => new SqliteStore(path)).toThrow(expect.objectContaining({ code: 'STORE_UNUSABLE' }))
  })

  it.each(['WAL', 'DELETE'])('of a newer version (%s) is refused, and keeps every byte', (journal) => {
    const newer = join(folder, `newer-${journal}.sqlite`)
    const database = new DatabaseSync(newer)
    database.exec(`PRAGMA journal_mode = ${journal}; CREATE TABLE later (x); PRAGMA user_version = 99`)
    database.close()
    const before = readFileSync(newer)
    expect(() => new SqliteStore(newer)).toThrow(expect.objectContaining({ code: 'STORE_UNUSABLE' }))
    expect(readFileSync(newer).equals(before)).toBe(true)
    // No descriptor is left, and no journal.
    expect(readdirSync(folder).filter((name) => name.startsWith(`newer-${journal}`))).toHaveLength(1)
  })
})
