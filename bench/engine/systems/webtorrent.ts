import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { startLineProcess } from '../line-process.ts'
import type { BenchSystem } from './system.ts'
import { torrentPeers } from './torrent-peers.ts'

const PEER_PROGRAM = join(import.meta.dirname, '../peers/webtorrent-peer.ts')
const PACKAGE = join(import.meta.dirname, '../../../node_modules/webtorrent/package.json')

/** WebTorrent over plain TCP. */
export const webtorrent: BenchSystem = {
  name: 'webtorrent',
  async versions() {
    const { version } = JSON.parse(await readFile(PACKAGE, 'utf8')) as { version: string }
    return { webtorrent: version }
  },
  async open() {
    return torrentPeers({
      startProcess: async () => startLineProcess([process.execPath, PEER_PROGRAM]),
    })
  },
}
