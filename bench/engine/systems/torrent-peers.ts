import { join } from 'node:path'
import { makeTorrent, sha256OfFile } from '../../measure/blob.ts'
import type { LineProcess } from '../../measure/line-process.ts'
import type { BenchPeer, OpenSystem } from './system.ts'

interface TorrentPeers {
  startProcess(): Promise<LineProcess>
  sslAuthorityPem?: string
}

/** A system whose peers are asked to `add` a torrent, to `download` it, and how much of it they `sent`. */
export function torrentPeers(system: TorrentPeers): OpenSystem {
  return {
    servicePids: [],
    async startHolder(_folder, blobs) {
      const holder = await startPeer(system, { folder: blobs[0]!.folder, isHolder: true })
      for (const blob of blobs) await holder.prepare(blob)
      return holder
    },
    startDownloader: (folder) => startPeer(system, { folder, isHolder: false }),
    async settle() {},
    async close() {},
  }
}

async function startPeer(
  { startProcess, sslAuthorityPem }: TorrentPeers,
  { folder, isHolder }: { folder: string; isHolder: boolean },
): Promise<BenchPeer> {
  const peer = await startProcess()
  let port = 0
  return {
    pid: peer.pid,
    get port() {
      return port
    },
    async prepare(blob) {
      const torrent = makeTorrent(blob, { sslAuthorityPem }).file.toString('base64')
      const question = { do: 'add', name: blob.name, torrent, folder, isHolder }
      port = (await peer.ask<{ port: number }>(question)).port
    },
    async download({ name }, peerPorts) {
      await peer.ask({ do: 'download', name, peerPorts })
      return 0
    },
    sentBytes: async ({ name }) => (await peer.ask<{ bytes: number }>({ do: 'sent', name })).bytes,
    contentHash: ({ name }) => sha256OfFile(join(folder, name)),
    stop: () => peer.stop(),
  }
}
