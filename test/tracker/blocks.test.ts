import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { Blocks as NodeBlocks } from '../../client/membership/blocks.ts'
import { BLOCKS_MAX, blocksNews } from '../../core/blocks-api.ts'
import { type Digest, digestFromHex } from '../../core/digest.ts'
import type { ClusterId } from '../../core/metainfo.ts'
import type { RegistryHost, Repository } from '../../core/repository.ts'
import { Blocks } from '../../tracker/authority/blocks.ts'
import { dumpSqlite, fillSqlite } from '../../tracker/store/sqlite-dump.ts'
import { SqliteStore } from '../../tracker/store/sqlite-store.ts'
import { restoreLines } from '../../tracker/store/take-in.ts'
import { each, fillStore, linesOf } from './filled-store.ts'

const LAB = 'c0123456789abcdef' as ClusterId
const OTHER = 'cfedcba9876543210' as ClusterId
const BY = { actor: 'operator', nowMs: 5 }
const APP = { registry: 'registry.example' as RegistryHost, repository: 'team/app' as Repository }
const digestOf = (number: number): Digest => digestFromHex(number.toString(16).padStart(64, '0'))
const blobOf = (number: number) => ({ kind: 'digest' as const, digest: digestOf(number) })

describe('blocks', () => {
  let store: SqliteStore
  let blocks: Blocks
  beforeEach(async () => {
    store = new SqliteStore(':memory:')
    blocks = await Blocks.load(store)
  })
  const codeOf = (act: () => unknown) => {
    try {
      return void act()
    } catch (error) {
      return (error as { code: string }).code
    }
  }

  it('count in their own cluster, and the same one twice is one', async () => {
    const one = await blocks.add(LAB, { kind: 'repository', ...APP }, BY)
    expect(await blocks.add(LAB, { kind: 'repository', ...APP }, BY)).toEqual(one)
    await blocks.add(LAB, blobOf(1), BY)
    expect(codeOf(() => blocks.check(LAB, { ...APP, digest: digestOf(2) }))).toBe('BLOCKED')
    const elsewhere = { ...APP, repository: 'team/app2' }
    expect(codeOf(() => blocks.check(LAB, { ...elsewhere, digest: digestOf(1) }))).toBe('BLOCKED')
    expect(codeOf(() => blocks.check(LAB, { ...elsewhere, digest: digestOf(2) }))).toBeUndefined()
    expect(codeOf(() => blocks.check(OTHER, { ...APP, digest: digestOf(1) }))).toBeUndefined()
    await blocks.remove(one.id, BY)
    await expect(blocks.remove(one.id, BY)).rejects.toMatchObject({ code: 'BLOCK_UNKNOWN' })
    expect((await Blocks.load(store)).list().map(({ target }) => target)).toEqual([blobOf(1)])
    const actions = (await store.audit({ limit: 9 })).map(({ action, target }) => `${action}: ${target}`)
    expect(actions).toEqual([
      'block removed: registry.example/team/app',
      `blob blocked: ${digestOf(1)}`,
      'repository blocked: registry.example/team/app',
    ])
  })

  it('are so many in one cluster, and all of them fit into one message', async () => {
    const entry = { atMs: 1, actor: 'test', action: 'blocked', cluster: LAB, target: 'many' }
    for (let number = 0; number < BLOCKS_MAX; number++)
      await store.addBlock({ id: `${number}`, cluster: LAB, target: blobOf(number), atMs: 1 }, entry)
    await blocks.reload()
    await expect(blocks.add(LAB, blobOf(BLOCKS_MAX), BY)).rejects.toMatchObject({ code: 'BLOCKS_TOO_MANY' })
    await blocks.add(OTHER, blobOf(1), BY)
    const news = blocks.newsFor(LAB, undefined)
    expect(blocksNews.parse(news).list).toHaveLength(BLOCKS_MAX)
  })

  it('are told to a node that knows an older list, or none, and never by a tracker that is behind', async () => {
    const behind = await Blocks.load(store)
    const empty = blocks.newsFor(LAB, undefined)!
    expect(empty.list).toEqual([])
    const { id } = await blocks.add(LAB, blobOf(1), BY)
    const first = blocks.newsFor(LAB, empty.version)!
    expect(first.list).toEqual([blobOf(1)])
    expect(blocks.newsFor(LAB, first.version)).toBeUndefined()
    expect(behind.newsFor(LAB, first.version)).toBeUndefined()
    await blocks.remove(id, BY)
    const second = blocks.newsFor(LAB, first.version)!
    expect(second.list).toEqual([])
    expect((await Blocks.load(store)).newsFor(LAB, undefined)).toEqual(second)
  })

  it('of a restored backup are told to nodes that knew newer ones', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'shoal-blocks-'))
    const [from, to] = [join(folder, 'from.sqlite'), join(folder, 'to.sqlite')]
    const filled = new SqliteStore(from)
    await fillStore(filled)
    const [cluster] = await filled.clusters()
    const backup = await linesOf(dumpSqlite(from))
    const newer = await Blocks.load(filled)
    for (let number = 1; number < 9; number++) await newer.add(cluster!.cluster, blobOf(number), BY)
    const known = newer.newsFor(cluster!.cluster, undefined)!
    await filled.close()
    await fillSqlite(to, (empty) => restoreLines(each(backup), empty, 7))
    const restored = new SqliteStore(to)
    const told = (await Blocks.load(restored)).newsFor(cluster!.cluster, known.version)
    expect(told?.list).toHaveLength(1)
    await restored.close()
    rmSync(folder, { recursive: true })
  })

  it('stay at a node that hears an older list, and end with a newer one', () => {
    const node = new NodeBlocks()
    expect(node.version).toBeUndefined()
    node.take({ version: 2, list: [blobOf(1)] })
    node.take({ version: 1, list: [] })
    node.take(undefined)
    expect([node.version, node.hasDigest(blobOf(1))]).toEqual([2, true])
    node.forgetVersion()
    expect([node.version, node.hasDigest(blobOf(1))]).toEqual([undefined, true])
    node.take({ version: 3, list: [{ kind: 'repository', ...APP }] })
    expect(node.whyNot({ ...APP, digest: digestOf(1) })?.code).toBe('BLOCKED')
    expect(node.whyNot({ ...APP, repository: 'team', digest: digestOf(1) })).toBeUndefined()
  })
})
