/** The part of WebTorrent 3 that the benchmark uses. */
declare module 'webtorrent' {
  import type { EventEmitter } from 'node:events'

  export interface WebTorrentTorrent extends EventEmitter {
    /** Payload bytes sent. */
    readonly uploaded: number
    readonly ready: boolean
    addPeer(address: string): boolean
  }

  export default class WebTorrent extends EventEmitter {
    constructor(options: Record<string, unknown>)
    readonly torrentPort: number
    readonly listening: boolean
    add(torrent: Uint8Array, options: Record<string, unknown>): WebTorrentTorrent
  }
}
