import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { startAnnounceServer } from '../../bench/engine/announce-server.ts'
import { makeBlob, makeTorrent, sha256OfFile, TORRENT_PIECE_BYTES } from '../../bench/measure/blob.ts'
import { startLineProcess } from '../../bench/measure/line-process.ts'
import { peakRssBytesOf, resetPeakRss } from '../../bench/measure/process-usage.ts'
import { decodeBencode } from '../../core/bencode.ts'
import { cpuSecondsOf } from '../../lab/machine/processor-use.ts'

const folder = mkdtempSync(join(tmpdir(), 'shoal-bench-test-'))
afterAll(() => rmSync(folder, { recursive: true }))

describe('a blob', () => {
  it('is named by its digest and knows the SHA-1 of its pieces', async () => {
    const blob = await makeBlob(folder, 3 * TORRENT_PIECE_BYTES)
    expect(await sha256OfFile(blob.path)).toBe(blob.name)
    const last = readFileSync(blob.path).subarray(2 * TORRENT_PIECE_BYTES)
    expect(blob.pieceHashes.subarray(40)).toEqual(createHash('sha1').update(last).digest())
    const torrent = decodeBencode(makeTorrent(blob, { sslAuthorityPem: 'pem' }).file) as Map<string, never>
    expect([...(torrent.get('info') as unknown as Map<string, unknown>).keys()]).toEqual([
      'length',
      'name',
      'piece length',
      'pieces',
      'private',
      'ssl-cert',
    ])
    expect(makeTorrent(blob).infoHash).not.toEqual(makeTorrent(blob, { sslAuthorityPem: 'pem' }).infoHash)
  })
})

describe('the announce server', () => {
  const announce = async (url: string, port: number, event = 'started') => {
    const infoHash = '%00%ff%26'.padEnd(26, 'x')
    const response = await fetch(`${url}?info_hash=${infoHash}&port=${port}&event=${event}`)
    const answer = decodeBencode(Buffer.from(await response.arrayBuffer())) as Map<string, Buffer>
    return answer.get('peers')!.toString('hex')
  }
  const infoHash = Buffer.from(`\x00\xff&${'x'.repeat(17)}`, 'latin1')

  it('names those who announced before, keeps the holder, and forgets downloaders', async () => {
    const server = await startAnnounceServer()
    try {
      expect(await announce(server.url, 0x1001)).toBe('')
      expect(await announce(server.url, 0x1002)).toBe('7f0000011001')
      expect(await announce(server.url, 0x1003)).toBe('7f00000110017f0000011002')
      await announce(server.url, 0x1002, 'stopped')
      expect(await announce(server.url, 0x1004)).toBe('7f00000110017f0000011003')
      server.forgetDownloaders(infoHash)
      expect(await announce(server.url, 0x1005)).toBe('7f0000011001')
    } finally {
      await server.close()
    }
  })
})

describe('a process that answers lines', () => {
  const program = `
    require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
      const question = JSON.parse(line)
      if (question.do === 'die') { console.error('last words'); process.exit(3) }
      if (question.do === 'fail') return console.log(JSON.stringify({ error: 'it broke' }))
      console.log(JSON.stringify({ echo: question.value }))
    })`

  it('answers in the order of the questions and ends when nobody asks any more', async () => {
    const peer = startLineProcess([process.execPath, '-e', program])
    const answers = await Promise.all([1, 2, 3].map((value) => peer.ask({ do: 'echo', value })))
    expect(answers).toEqual([{ echo: 1 }, { echo: 2 }, { echo: 3 }])
    await peer.stop()
    expect(() => process.kill(peer.pid, 0)).toThrow()
  })

  it('is a BENCH_PEER error with its words when it fails, and when it ends', async () => {
    const peer = startLineProcess([process.execPath, '-e', program])
    const failed = peer.ask({ do: 'fail' })
    await expect(failed).rejects.toMatchObject({
      code: 'BENCH_PEER',
      message: expect.stringContaining('it broke'),
    })
    const died = peer.ask({ do: 'die' })
    await expect(died).rejects.toMatchObject({
      code: 'BENCH_PEER',
      message: expect.stringContaining('with 3'),
    })
    await peer.stop()
  })

  it('is an error when there is no such program', async () => {
    const peer = startLineProcess([join(folder, 'nothing'), 'x'])
    await expect(peer.ask({})).rejects.toMatchObject({ code: 'BENCH_PEER' })
  })
})

describe('the usage of a process', () => {
  it('counts its CPU time and its peak memory since the reset', async () => {
    const program = `
      const block = Buffer.alloc(64 * 2 ** 20, 1)
      for (const until = Date.now() + 300; Date.now() < until;);
      console.log(block.length)
      setTimeout(() => {}, 60_000)`
    const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'ignore'] })
    try {
      resetPeakRss([child.pid!])
      await new Promise((resolve) => child.stdout.once('data', resolve))
      expect(cpuSecondsOf([child.pid!])).toBeGreaterThan(0.1)
      expect(peakRssBytesOf([child.pid!])).toBeGreaterThan(64 * 2 ** 20)
    } finally {
      child.kill('SIGKILL')
    }
  })
})
