import { join } from 'node:path'
import { type BenchBlob, makeTorrent, sha256OfFile } from '../../measure/blob.ts'
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
    startHolder: (_folder, blobs) => startPeer(system, { blobs, folder: blobs[0]!.folder, isHolder: true }),
    startDownloader: (folder, blob) => startPeer(system, { blobs: [blob], folder, isHolder: false }),
    async settle() {},
    async close() {},
  }
}

async function startPeer(
  { startProcess, sslAuthorityPem }: TorrentPeers,
  { blobs, folder, isHolder }: { blobs: BenchBlob[]; folder: string; isHolder: boolean },
): Promise<BenchPeer> {
  const peer = await startProcess()
  let port = 0
  for (const blob of blobs) {
    const torrent = makeTorrent(blob, { sslAuthorityPem }).file.toString('base64')
    port = (await peer.ask<{ port: number }>({ do: 'add', name: blob.name, torrent, folder, isHolder })).port
  }
  return {
    pid: peer.pid,
    port,
    async download({ name }, peerPorts) {
      await peer.ask({ do: 'download', name, peerPorts })
      return 0
    },
    sentBytes: async ({ name }) => (await peer.ask<{ bytes: number }>({ do: 'sent', name })).bytes,
    contentHash: ({ name }) => sha256OfFile(join(folder, name)),
    stop: () => peer.stop(),
  }
}
