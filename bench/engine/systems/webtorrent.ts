import { join } from 'node:path'
import { startLineProcess } from '../../measure/line-process.ts'
import { versionOfPeer } from '../../peers/installed.ts'
import type { BenchSystem } from './system.ts'
import { torrentPeers } from './torrent-peers.ts'

const PEER_PROGRAM = join(import.meta.dirname, '../../peers/webtorrent-peer.ts')

/** WebTorrent over plain TCP. */
export const webtorrent: BenchSystem = {
  name: 'webtorrent',
  async versions() {
    return { webtorrent: versionOfPeer('webtorrent') }
  },
  async open() {
    return torrentPeers({
      startProcess: async () => startLineProcess([process.execPath, PEER_PROGRAM]),
    })
  },
}
