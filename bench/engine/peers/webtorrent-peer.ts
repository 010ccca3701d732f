import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import WebTorrent, { type WebTorrentTorrent } from 'webtorrent'
import { answerLines } from './answer-lines.ts'

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
  torrentFile: string
  folder: string
  isHolder: boolean
}

async function add({ name, torrentFile, folder, isHolder }: Add) {
  // The default, in order, would make downloaders want the same pieces at the same time.
  const options = { path: folder, strategy: 'rarest', skipVerify: isHolder }
  const torrent = client.add(await readFile(torrentFile), options)
  torrents.set(name, torrent)
  if (!torrent.ready) await once(torrent, 'ready')
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
