import type { BenchBlob } from '../../measure/blob.ts'
import type { SystemName } from '../report.ts'

/** One BitTorrent implementation. Each peer is a separate process, as on separate machines. */
export interface BenchSystem {
  readonly name: SystemName
  /** Versions of the program or library, and of its runtime. */
  versions(): Promise<Record<string, string>>
  /**
   * Starts everything that the peers need beside themselves.
   * @param folder exists, is empty, and is removed after `close`
   * @throws BenchPeerError
   */
  open(folder: string): Promise<OpenSystem>
}

export interface OpenSystem {
  /** Processes other than the peers that work during a transfer; their CPU time counts. */
  readonly servicePids: number[]
  /** Absent where blobs come from peers only. */
  readonly registry?: BenchRegistry
  /** A peer that holds all of `blobs` and serves them for as long as it runs. */
  startHolder(folder: string, blobs: BenchBlob[]): Promise<BenchPeer>
  /** A peer that has moved nothing and knows of no other peer. */
  startDownloader(folder: string): Promise<BenchPeer>
  /** Resolves when nothing of earlier transfers can disturb the next. */
  settle(): Promise<void>
  close(): Promise<void>
}

/** The source of blobs that no peer has. */
export interface BenchRegistry {
  add(blob: BenchBlob): Promise<void>
  /** Bytes of the blob in its answers so far, those to aborted requests included. */
  sentBytes(blob: BenchBlob): Promise<number>
}

export interface BenchPeer {
  readonly pid: number
  /** Where it accepts connections, on 127.0.0.1; 0 where peers find each other without being told. */
  readonly port: number
  /** Tells a downloader of the blob that it will be asked for next. */
  prepare(blob: BenchBlob): Promise<void>
  /**
   * Downloads, from the holder and from other downloaders. Resolves when every byte is verified and in the file.
   * @param peerPorts the holder if there is one, and downloaders that have been asked to download before
   * @returns bytes that came from elsewhere than peers
   * @throws BenchPeerError
   */
  download(blob: BenchBlob, peerPorts: number[]): Promise<number>
  /** Payload bytes of the blob sent since the peer began; null where that is unknown. */
  sentBytes(blob: BenchBlob): Promise<number | null>
  /** SHA-256, in hex digits, of the file on its disk. */
  contentHash(blob: BenchBlob): Promise<string>
  stop(): Promise<void>
}
