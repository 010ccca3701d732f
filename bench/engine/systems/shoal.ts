import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { BlobRequest } from '../../../client/index.ts'
import type { BenchBlob } from '../../measure/blob.ts'
import { REPOSITORY } from '../../measure/blob-registry.ts'
import { type LineProcess, startLineProcess } from '../../measure/line-process.ts'
import { untilQuiet } from '../../measure/process-usage.ts'
import type { ShoalServices } from '../../measure/shoal-questions.ts'
import type { BenchPeer, BenchRegistry, BenchSystem, OpenSystem } from './system.ts'

const PEER_PROGRAM = join(import.meta.dirname, '../peers/shoal-peer.ts')
/** Peers run as `bin/shoal.js` runs a node. */
const LEAN = join(import.meta.dirname, '../../../bin/lean.js')
const SERVICES_PROGRAM = join(import.meta.dirname, '../peers/shoal-services.ts')

/**
 * Shoal as in a cluster: a tracker, a registry with tokens, and a warm blob, held by one node and matched against its
 * digest by two.
 * @param isRead every downloader also reads the blob through its client while it arrives
 * @param isEncrypted every node encrypts its cache with its own key
 */
export function shoal({ isRead, isEncrypted }: { isRead: boolean; isEncrypted: boolean }): BenchSystem {
  return {
    name: isEncrypted ? 'shoal-encrypted' : 'shoal',
    versions: async () => ({ node: process.versions.node, openssl: process.versions.openssl }),
    async open(folder) {
      const services = startLineProcess([process.execPath, SERVICES_PROGRAM])
      const settings = await services.ask<ShoalServices>({ do: 'open', folder })
      return new ShoalCluster({ services, settings, isRead, isEncrypted })
    },
  }
}

interface ClusterParts {
  services: LineProcess
  settings: ShoalServices
  isRead: boolean
  isEncrypted: boolean
}

class ShoalCluster implements OpenSystem {
  readonly servicePids: number[]
  readonly registry: BenchRegistry
  readonly #parts: ClusterParts
  #lastStopMs = 0

  constructor(parts: ClusterParts) {
    this.#parts = parts
    const { services } = parts
    this.servicePids = [services.pid]
    this.registry = {
      add: async ({ name, path, bytes }) => void (await services.ask({ do: 'add', name, path, bytes })),
      sentBytes: async ({ name }) => (await services.ask<{ bytes: number }>({ do: 'sent', name })).bytes,
    }
  }

  /**
   * The holder fetches from the registry; then a second node fetches from the holder. It stays until the tracker has
   * its report and says that the hashes are confirmed, and until both have delivered what stock clients need: else the
   * first measured transfer of a blob would hash everything twice.
   */
  async startHolder(folder: string, blobs: BenchBlob[]): Promise<BenchPeer> {
    const holder = await this.#startPeer(folder)
    const secondFolder = `${folder}-second`
    const second = await this.#startPeer(secondFolder)
    for (const blob of blobs) {
      await this.registry.add(blob)
      for (const peer of [holder, second]) {
        await this.#prepare(peer, blob)
        await this.#download(peer, blob)
      }
    }
    await this.#parts.services.ask({ do: 'confirmed', swarms: blobs.length })
    await untilQuiet([holder, second].map(({ pid }) => pid))
    await this.#stopPeer(second)
    await rm(secondFolder, { recursive: true })
    return this.#benchPeer(holder)
  }

  async startDownloader(folder: string): Promise<BenchPeer> {
    return this.#benchPeer(await this.#startPeer(folder))
  }

  async settle(): Promise<void> {
    const { peersForgottenAfterMs } = this.#parts.settings
    await delay(Math.max(0, this.#lastStopMs + peersForgottenAfterMs - performance.now()))
  }

  async close(): Promise<void> {
    await this.#parts.services.stop()
  }

  async #startPeer(dataDir: string): Promise<LineProcess> {
    const peer = startLineProcess([process.execPath, '--import', LEAN, PEER_PROGRAM])
    await peer.ask({ do: 'open', ...this.#parts.settings, dataDir, isEncrypted: this.#parts.isEncrypted })
    return peer
  }

  async #stopPeer(peer: LineProcess): Promise<void> {
    await peer.stop()
    this.#lastStopMs = performance.now()
  }

  /** Every download has its own token, like every `docker pull`. */
  async #prepare(peer: LineProcess, { digest, bytes }: BenchBlob): Promise<void> {
    const { services, settings } = this.#parts
    const { token } = await services.ask<{ token: string }>({ do: 'token' })
    const request: BlobRequest = {
      registry: settings.registry.host,
      repository: REPOSITORY,
      digest,
      bytes,
      credential: { scheme: 'bearer', token },
    }
    await peer.ask({ do: 'prepare', request })
  }

  /** @returns bytes that did not come from peers */
  async #download(peer: LineProcess, { digest }: BenchBlob): Promise<number> {
    const question = { do: 'download', digest, isRead: this.#parts.isRead }
    return (await peer.ask<{ bytesFromRegistry: number }>(question)).bytesFromRegistry
  }

  #benchPeer(peer: LineProcess): BenchPeer {
    return {
      pid: peer.pid,
      port: 0,
      prepare: (blob) => this.#prepare(peer, blob),
      download: (blob) => this.#download(peer, blob),
      sentBytes: async ({ digest }) => (await peer.ask<{ bytes: number }>({ do: 'sent', digest })).bytes,
      contentHash: async ({ digest }) =>
        (await peer.ask<{ hash: string }>({ do: 'contentHash', digest })).hash,
      stop: () => this.#stopPeer(peer),
    }
  }
}
