import type { Logger } from 'pino'
import { ShoalError } from '../core/errors.ts'
import type { HashBatch } from '../core/hash-batch.ts'
import type { NodeId, PieceIndex, PieceLayout, SwarmId } from '../core/metainfo.ts'
import type { RegistryClient } from '../core/registry-client.ts'
import type { GrantedSwarm, HashesRequest, HashesResponse, Peer } from '../core/tracker-api.ts'
import { Announcer } from './announcer.ts'
import { BatchRenewal } from './batch-renewal.ts'
import type { BlobKey, BlobProgress } from './client.ts'
import { Completion } from './completion.ts'
import type { Bitfield } from './engine/bitfield.ts'
import { type Assembly, Download } from './engine/download.ts'
import type { RateLimit } from './engine/rate-limit.ts'
import {
  BlobDistrustedError,
  BlobUnavailableError,
  ClientClosedError,
  PieceCorruptError,
  StoreWriteError,
} from './errors.ts'
import type { Admission } from './net/admission.ts'
import type { ClusterTrustState, PeerCredential } from './net/cluster-trust.ts'
import type { Grant } from './net/grants.ts'
import type { SendBuffers } from './net/send-buffers.ts'
import type { TrackerClient } from './net/tracker-client.ts'
import { Origin } from './origin.ts'
import type { OriginHost } from './origin-host.ts'
import { PieceBook } from './piece-book.ts'
import { Readers } from './readers.ts'
import { RegistryAccess } from './registry-access.ts'
import type { StoredBlob } from './store/blob-store.ts'
import type { PieceBuffer, PieceBufferShare, PieceBuffers } from './store/piece-buffers.ts'
import type { Verifier } from './store/verifier.ts'
import { SwarmLinks } from './swarm-links.ts'
import { WholeCheck } from './whole-check.ts'

/** What every swarm of a node shares. */
export interface SwarmParts {
  node: NodeId
  version: string
  trust: ClusterTrustState
  admission: Admission
  tracker: TrackerClient
  /** Share of blobs that are hashed as a whole although two nodes vouch for their hashes. */
  auditedShare: number
  buffers: PieceBuffers
  sendBuffers: SendBuffers
  uploadLimit: RateLimit
  downloadLimit: RateLimit
  verifier: Verifier
  log: Logger
  registry: RegistryClient
  dial(peer: Peer, host: SwarmLinks, credential: PeerCredential): void
  onComplete(swarm: Swarm): void
  /** A peer sent a piece that does not match its hash. */
  onBadPeer(swarm: SwarmId, node: NodeId): void
  onFailed(swarm: Swarm, reason: ShoalError): void
}

/** How often stalls, leases and dials are looked at: the shortest stall. */
export const TICK_MS = 250
/** How much work a killed node may lose. */
const SAVE_EVERY_MS = 1_000

/**
 * One blob on this node: what is stored of it, who is connected for it, and what goes which way. Invariants: a piece
 * is in `stored.have` only after it was verified and written; downloading goes on only while someone reads.
 */
export class Swarm implements OriginHost {
  readonly links: SwarmLinks
  readonly stored: StoredBlob
  readonly buffers: PieceBufferShare
  readonly log: Logger
  readonly access: RegistryAccess
  grant: Grant | undefined
  private readonly parts: SwarmParts
  private readonly download: Download
  private readonly origin: Origin
  private readonly whole: WholeCheck
  private readonly book: PieceBook
  private readonly completion: Completion
  private readonly renewal: BatchRenewal
  private readonly claimed = new Set<PieceIndex>()
  private readonly readers = new Readers()
  private readonly announcer = new Announcer((batches, pieces) => this.links.announce(batches, pieces))
  private failure: ShoalError | undefined
  private ticker: NodeJS.Timeout | undefined
  private fillTimer: NodeJS.Timeout | undefined
  private bytesFromPeers = 0
  private isFinishing = false
  private rechecking: Promise<void> | undefined
  private savedAtMs = 0

  constructor(stored: StoredBlob, parts: SwarmParts) {
    this.stored = stored
    this.parts = parts
    this.buffers = parts.buffers.share()
    this.log = parts.log.child({ digest: stored.key.digest, swarm: stored.swarm })
    this.download = new Download({
      node: parts.node,
      layout: stored.layout,
      have: stored.have,
      buffers: this.buffers,
      isAskable: (piece) => stored.hashes.has(piece) && !this.claimed.has(piece),
      position: () => this.readers.position,
      onPiece: (assembly) => void this.verify(assembly),
      nowMs: () => performance.now(),
      random: Math.random,
      limit: parts.downloadLimit,
      wait: (delayMs) => this.fillLater(delayMs),
    })
    this.links = new SwarmLinks({
      ...parts,
      stored,
      download: this.download,
      log: this.log,
      isWanted: () => this.isWanted,
      grant: () => this.grant,
      onAdmitted: () => void this.renewal.run(),
      onBatch: (batch) => this.onBatch(batch),
      announceable: () => this.book.announceable(),
    })
    this.access = new RegistryAccess(stored, parts)
    this.origin = new Origin(this)
    this.whole = new WholeCheck(parts.verifier, stored, { isAudit: Math.random() < parts.auditedShare })
    this.book = new PieceBook(stored)
    this.completion = new Completion({
      ...parts,
      stored,
      book: this.book,
      access: this.access,
      log: this.log,
      host: {
        raiseEpoch: (epoch) => this.raiseEpoch(epoch),
        learnBatches: (batches) => this.learnBatches(batches),
      },
    })
    this.renewal = new BatchRenewal({
      ...parts,
      stored,
      log: this.log,
      learnBatches: (batches) => this.learnBatches(batches),
      retain: (isSigned) => this.retainHashes(isSigned),
    })
  }

  get swarm(): SwarmId {
    return this.stored.swarm
  }
  get blob(): BlobKey {
    return this.stored.key
  }
  get layout(): PieceLayout {
    return this.stored.layout
  }
  get have(): Bitfield {
    return this.stored.have
  }
  get epoch(): number {
    return this.stored.hashes.epoch
  }
  /** Someone reads the blob, so what is missing of it is fetched. */
  get isWanted(): boolean {
    return this.readers.count > 0
  }

  progress(): BlobProgress {
    return {
      ...this.blob,
      repository: this.stored.repository,
      bytes: this.layout.blobBytes,
      bytesFromRegistry: this.origin.bytes,
      bytesFromPeers: this.bytesFromPeers,
      bytesToPeers: this.links.bytesSent,
      state: this.failure ? 'failed' : this.stored.isComplete ? 'complete' : 'downloading',
      peers: this.links.size,
    }
  }

  // --- local readers -------------------------------------------------------------------------------------------

  /** A grant, and the request that it answers: with both this node may download. */
  admitReader(
    grant: Grant,
    granted: GrantedSwarm | undefined,
    request: Parameters<RegistryAccess['admit']>[0],
  ): void {
    this.grant = grant
    this.access.admit(request)
    this.failure = undefined
    if (!granted) return
    this.raiseEpoch(granted.epoch)
    this.learnBatches(granted.batches)
    this.links.addPeers(granted.peers)
    this.links.proveTokens()
    if (granted.lease) this.origin.offer(granted.lease)
    this.download.fillAll()
  }

  /** A reader waits for what comes from `piece` on; the first one starts the download. */
  setPosition(reader: object, piece: number): void {
    if (!this.readers.move(reader, piece)) return
    this.stored.touch()
    if (this.stored.isComplete) return
    this.download.resume()
    this.origin.start()
    this.ticker ??= setInterval(() => this.tick(), TICK_MS)
    this.tick()
    // A node that was killed after the last piece has yet to match the whole.
    if (this.have.isFull) void this.finish()
  }

  removeReader(reader: object): void {
    if (this.readers.remove(reader)) this.halt()
  }

  /** Resolves when `isDone`; checked whenever a piece comes in and when the blob is matched. */
  async until(reader: object, isDone: () => boolean): Promise<void> {
    if (this.failure && !isDone()) throw this.failure
    await this.readers.until(reader, isDone)
  }

  fail(reason: ShoalError): void {
    if (this.failure || this.stored.isComplete) return
    this.failure = reason
    this.halt()
    this.readers.fail(reason)
    this.parts.onFailed(this, reason)
  }

  /** @param reason what readers in the middle of the blob get */
  close(reason: ShoalError = new ClientClosedError('the node is stopping')): void {
    this.failure ??= reason
    this.halt()
    this.stopTicking()
    this.whole.abandon()
    this.readers.fail(reason)
    this.links.close()
  }

  /** Resolves when the hashes of what this node fetched are published, or the tracker did not take them. */
  published(): Promise<void> {
    return this.origin.publish()
  }

  private halt(): void {
    this.download.pause()
    this.origin.stop()
    this.stored.save()
  }

  private tick(): void {
    this.download.tick()
    this.origin.tick()
    this.links.connect()
    if (Date.now() - this.savedAtMs > SAVE_EVERY_MS) {
      this.savedAtMs = Date.now()
      this.stored.save()
    }
    if (this.isWanted && !this.stored.isComplete) return
    // What was fetched under a lease is still published: others wait for its hashes.
    if (this.origin.isDone) this.stopTicking()
  }

  private fillLater(delayMs: number): void {
    this.fillTimer ??= setTimeout(() => {
      this.fillTimer = undefined
      this.download.fillAll()
    }, delayMs)
    this.fillTimer.unref()
  }

  private stopTicking(): void {
    clearInterval(this.ticker)
    this.ticker = undefined
  }

  /** Peers and registry are silent: readers go on by themselves, what is stored stays for the next one. */
  starved(): void {
    this.readers.fail(new BlobUnavailableError('neither the swarm nor the registry gives a piece'))
  }

  // --- OriginHost ----------------------------------------------------------------------------------------------

  position(): number {
    return this.readers.position ?? 0
  }

  place(): { at: number; of: number } {
    return this.download.place()
  }

  isOutOfReach(piece: PieceIndex): boolean {
    if (this.claimed.has(piece) || this.download.isUnderWay(piece)) return false
    return !this.download.isOffered(piece) || !this.stored.hashes.has(piece)
  }

  firstUnknownHash(): number | undefined {
    return this.stored.hashes.firstUnknown()
  }

  peersIdleMs(): number {
    return this.download.idleMs()
  }

  claim(piece: PieceIndex): void {
    this.claimed.add(piece)
    this.download.giveUp(piece)
  }

  unclaim(piece: PieceIndex): void {
    this.claimed.delete(piece)
    this.download.fillAll()
  }

  async storeFromRegistry(piece: PieceIndex, buffer: PieceBuffer, length: number): Promise<Buffer> {
    const { hashes } = this.stored
    // Two nodes vouched for confirmed hashes; where the registry says otherwise, the tracker finds out who is right.
    const expected = hashes.isConfirmed ? hashes.get(piece)?.toString('hex') : undefined
    const hash = await this.writeOrFail(piece, buffer, length, expected)
    if (expected !== undefined && hash !== expected) {
      void this.completion.reportWrong({ piece, hash: Buffer.from(hash, 'hex') })
      const reason = new BlobDistrustedError(
        `the registry has other bytes for piece ${piece} than two nodes vouched for`,
      )
      this.fail(reason)
      throw reason
    }
    if (!this.have.has(piece)) {
      this.origin.moved('registry')
      const isAnnounceable = this.book.addFromRegistry(piece, Buffer.from(hash, 'hex'))
      this.onKept(piece, isAnnounceable)
    }
    return Buffer.from(hash, 'hex')
  }

  askHashes(request: Omit<HashesRequest, 'pull'>): Promise<HashesResponse> {
    return this.parts.tracker.hashes(this.swarm, { pull: this.grant!.pull, ...request })
  }

  learn(answer: HashesResponse): void {
    this.raiseEpoch(answer.epoch)
    this.learnBatches(answer.batches)
    this.links.addPeers(answer.peers)
    this.download.fillAll()
  }

  // --- pieces --------------------------------------------------------------------------------------------------

  private async verify(assembly: Assembly): Promise<void> {
    const { piece, buffer, length } = assembly
    const expected = this.stored.hashes.get(piece)?.toString('hex')
    try {
      // The epoch may have risen while the piece was on its way: then it is simply asked for again.
      if (expected === undefined) return
      const actual = await this.write(piece, buffer, length, expected)
      if (actual !== expected) {
        this.links.ban(assembly.source, new PieceCorruptError(`piece ${piece} does not match its hash`))
        return
      }
      this.bytesFromPeers += length
      this.origin.moved('peer')
      this.book.add(piece)
      this.onKept(piece, true)
    } catch (cause) {
      this.failWriting(cause)
    } finally {
      this.download.settle(assembly)
    }
  }

  private write(
    piece: PieceIndex,
    buffer: PieceBuffer,
    length: number,
    expected: string | undefined,
  ): Promise<string> {
    const position = piece * this.layout.pieceBytes
    const whole = this.whole.handle
    return this.stored.withFile((file) =>
      this.parts.verifier.piece(buffer, { length, file, position, expected, whole }),
    )
  }

  /** A disk that takes no more ends the download here; its readers go on with the registry. */
  private async writeOrFail(...piece: Parameters<Swarm['write']>): Promise<string> {
    try {
      return await this.write(...piece)
    } catch (cause) {
      this.failWriting(cause)
      throw cause
    }
  }

  private failWriting(cause: unknown): void {
    if (cause instanceof ShoalError) this.fail(cause)
    else this.fail(new StoreWriteError('a piece could not be written', { cause }))
  }

  private onKept(piece: PieceIndex, isAnnounceable: boolean): void {
    this.download.giveUp(piece)
    if (isAnnounceable) this.announcer.add([], [piece])
    this.whole.advance()
    this.readers.wake()
    if (this.have.isFull) void this.finish()
  }

  /**
   * Of a blob that was believed on confirmed hashes: hashes the whole, once. One that is asked for again may be one that
   * its reader found wrong.
   * @throws BlobDistrustedError when it is not what the digest says, and the copy is dropped; BlobUnavailableError
   */
  recheck(): Promise<void> {
    if (!this.stored.isComplete || this.stored.isHashed) return Promise.resolve()
    this.rechecking ??= this.hashStored().finally(() => {
      this.rechecking = undefined
    })
    return this.rechecking
  }

  private async hashStored(): Promise<void> {
    const isMatching = await this.whole.isStoredMatching().catch((cause) => {
      throw new BlobUnavailableError('the blob could not be read again', { cause })
    })
    if (isMatching) {
      this.stored.isHashed = true
      this.stored.markDirty()
      this.stored.save()
      return
    }
    const reason = new BlobDistrustedError('a blob that two nodes vouched for is not what its digest says')
    this.stored.isMatched = false
    // After a risen epoch there is no hash left to accuse anybody of.
    if (this.stored.hashes.isComplete) void this.completion.accuse()
    this.fail(reason)
    throw reason
  }

  /** All pieces are here: match the whole, unless two other nodes' matches make these hashes enough. */
  private async finish(): Promise<void> {
    if (this.isFinishing || this.stored.isMatched) return
    this.isFinishing = true
    try {
      const isHashed = this.whole.isNeeded
      if (!(await this.whole.isMatched())) {
        void this.completion.accuse()
        this.fail(new BlobDistrustedError('the pieces do not add up to the digest'))
        return
      }
      this.stored.isMatched = true
      this.stored.isHashed = isHashed
      this.stored.markDirty()
      this.halt()
      this.readers.wake()
      const { bytes, bytesFromRegistry, bytesFromPeers } = this.progress()
      this.log.info({ bytes, bytesFromRegistry, bytesFromPeers }, 'blob complete')
      this.parts.onComplete(this)
      await this.origin.publish()
      await this.completion.report(isHashed ? 'whole' : 'pieces')
      if (!this.links.needsProof()) await this.completion.piecesSha1()
    } catch (cause) {
      this.failWriting(cause)
    } finally {
      this.isFinishing = false
    }
  }

  /** SHA-1 of every piece of the whole blob, for stock clients. */
  piecesSha1(): Promise<Buffer> {
    return this.completion.piecesSha1()
  }

  // --- hashes and announcements --------------------------------------------------------------------------------

  raiseEpoch(epoch: number): void {
    // A hash was wrong that may be what this copy was believed on.
    if (epoch > this.epoch) this.recheck().catch(() => undefined)
    if (this.book.raiseEpoch(epoch)) this.whole.abandon()
  }

  /** The tracker signs with another key: has what peers are told signed anew, if there are any. */
  async renewBatches(): Promise<void> {
    if (this.isWanted || this.links.size > 0) await this.renewal.run()
  }

  private retainHashes(isSigned: (batch: HashBatch) => boolean): void {
    if (!this.book.retain(isSigned)) return
    // This copy may be what was believed on them.
    this.recheck().catch(() => undefined)
    if (!this.stored.isMatched) this.whole.abandon()
    this.download.fillAll()
  }

  private onBatch(batch: HashBatch): void {
    if (batch.epoch < this.epoch) return
    this.raiseEpoch(batch.epoch)
    if (this.learnBatch(batch)) this.download.fillAll()
  }

  private learnBatches(batches: readonly HashBatch[]): void {
    for (const batch of batches) this.learnBatch(batch)
  }

  /** @returns true when the batch said something new. Only for batches whose signature is known to be good. */
  private learnBatch(batch: HashBatch): boolean {
    const announced = this.book.learn(batch)
    if (announced) this.announcer.add([batch], announced)
    return announced !== undefined
  }
}
