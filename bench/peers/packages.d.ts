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

/** The part of bittorrent-tracker 11 that interop tests use. */
declare module 'bittorrent-tracker/client' {
  import type { EventEmitter } from 'node:events'
  import type { Dispatcher } from 'undici'

  export default class TrackerClient extends EventEmitter {
    constructor(options: {
      infoHash: string
      peerId: string
      announce: string
      port: number
      /** Connection options of `fetch`. */
      proxyOpts: { httpsAgent: Dispatcher }
    })
    start(counts: { left: number }): void
    complete(counts: { left: number }): void
    stop(counts: { left: number }): void
    scrape(): void
    destroy(done: () => void): void
  }
}
