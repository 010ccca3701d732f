import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { systemsNamed } from '../../bench/engine/systems/index.ts'
import { makeBlob } from '../../bench/measure/blob.ts'
import { confirmedSwarms } from '../../lab/confirmed-swarms.ts'

const folder = mkdtempSync(join(tmpdir(), 'shoal-bench-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function folderNamed(name: string): string {
  const path = join(folder, name)
  mkdirSync(path)
  return path
}

/** What the node noted on its only blob. */
function blobState(dataDir: string): { isMatched?: boolean; isHashed?: boolean } {
  const path = readdirSync(dataDir, { recursive: true }).find((it) => String(it).endsWith('state.json'))
  return path === undefined ? {} : JSON.parse(readFileSync(join(dataDir, String(path)), 'utf8'))
}

describe('Shoal in the benchmark', () => {
  it('begins with blobs that the tracker has confirmed, so that the first transfer hashes them once', async () => {
    await using running = new AsyncDisposableStack()
    const blobFolder = folderNamed('blobs')
    const blobs = [await makeBlob(blobFolder, 2 ** 20), await makeBlob(blobFolder, 2 ** 20)]
    const [shoal] = systemsNamed(['shoal'], { isRead: false })
    const system = running.adopt(await shoal!.open(folderNamed('services')), (it) => it.close())
    const holder = running.adopt(await system.startHolder(folderNamed('holder'), blobs), (it) => it.stop())
    // The second node has gone: nobody could confirm anything any more.
    expect(await confirmedSwarms(join(folder, 'services/tracker'))).toBe(2)
    for (const blob of blobs) {
      expect(await system.registry!.sentBytes(blob)).toBe(blob.bytes)
      expect(await holder.sentBytes(blob)).toBe(blob.bytes)
    }
    const place = folderNamed('downloader')
    const downloader = running.adopt(await system.startDownloader(place), (it) => it.stop())
    await downloader.prepare(blobs[0]!)
    expect(await downloader.download(blobs[0]!, [])).toBe(0)
    await expect.poll(() => blobState(place).isMatched, { timeout: 5_000 }).toBe(true)
    expect(blobState(place).isHashed).not.toBe(true)
  }, 60_000)
})
