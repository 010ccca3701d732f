import { once } from 'node:events'
import WebTorrent, { type WebTorrentTorrent } from 'webtorrent'
import { answerLines } from '../measure/answer-lines.ts'

/** One WebTorrent peer of the benchmark: plain TCP, no discovery. */

const client = new WebTorrent({
  ...{ dht: false, tracker: false, lsd: false, utPex: false, webSeeds: false, natUpnp: false, natPmp: false },
  utp: false,
  // Its default is message stream encryption where the other side has it.
  secure: 0,
})
const torrents = new Map<string, WebTorrentTorrent>()

interface Add {
  name: string
  /** The .torrent file in base64. */
  torrent: string
  folder: string
  isHolder: boolean
}

async function add({ name, torrent, folder, isHolder }: Add) {
  // Pieces in order, its default: rarest first costs twice the CPU time at half the speed, to one peer or to four.
  const added = client.add(Buffer.from(torrent, 'base64'), { path: folder, skipVerify: isHolder })
  torrents.set(name, added)
  if (!added.ready) await once(added, 'ready')
  if (!client.listening) await once(client, 'listening')
  return { port: client.torrentPort }
}

async function download({ name, peerPorts }: { name: string; peerPorts: number[] }) {
  const torrent = torrents.get(name)!
  const done = once(torrent, 'done')
  for (const port of peerPorts) torrent.addPeer(`127.0.0.1:${port}`)
  await done
  return {}
}

async function sent({ name }: { name: string }) {
  return { bytes: torrents.get(name)!.uploaded }
}

await answerLines({ add, download, sent }, async () => {})
