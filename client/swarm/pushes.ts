import { setTimeout } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Boundary } from '../../core/defects.ts'
import type { RegistryHost } from '../../core/repository.ts'
import type { BlobRequest, ImagePlan, PushCopy, PushedBlobs, RegistryBlob } from '../client.ts'
import { GrantLateError, TrackerUnavailableError } from '../errors.ts'
import { PushedCopy, type PushedCopyParts, type SealedCopy } from '../store/pushed-copy.ts'

/** Uploads that are copied at the same time. Docker pushes five layers at a time. */
export const PUSHES_MAX = 32
/** Copies that wait for their manifest: about eight images of full height. */
export const PUSHED_BLOBS_MAX = 1024
/** An upload that got no byte for so long is abandoned. */
export const PUSH_IDLE_MS_MAX = 15 * 60_000
/** How long a copy waits for a manifest that names it. Clients send it right after the last layer. */
export const PUSHED_WAIT_MS_MAX = 30 * 60_000
/** How often copies are looked at whose time may be over. */
const LOOK_MS = 30_000
/** Tries to get the tracker's grant for a pushed blob … */
const GRANT_TRIES_MAX = 6
/** … with pauses that double, and begin with this. */
const GRANT_PAUSE_MS = 1_000

export interface PushesOptions extends Omit<PushedCopyParts, 'onDropped' | 'inFlight'> {
  log: Logger
  boundary: Boundary
  /** The blobs of an image will be granted together. */
  plan(image: ImagePlan): void
  /** Gets a grant with the pusher's own credential, and makes this node a holder. @returns false if the blob is here already */
  share(request: BlobRequest, copy: SealedCopy): Promise<boolean>
  nowMs?: () => number
}

/** A blob that the registry accepted, and that no accepted manifest names yet. */
interface Accepted {
  copy: PushedCopy
  sealed: Promise<SealedCopy | undefined>
  repositories: Set<string>
  sinceMs: number
}

/**
 * Copies of what local clients push. Invariants: a copy is nobody's but this object's until the registry accepted its blob and
 * a manifest that names it, in one repository; it becomes a holding of this node only when its own SHA-256 is the digest and
 * the tracker granted that digest to the pusher. Every copy ends: shared, replaced, or after its time.
 */
export class Pushes implements PushedBlobs {
  readonly #options: PushesOptions
  readonly #parts: PushedCopyParts
  readonly #nowMs: () => number
  readonly #uploading = new Map<PushedCopy, { atMs: number }>()
  readonly #accepted = new Map<string, Accepted>()
  #looking: NodeJS.Timeout | undefined

  constructor(options: PushesOptions) {
    this.#options = options
    this.#nowMs = options.nowMs ?? Date.now
    this.#parts = {
      ...options,
      inFlight: { bytes: 0 },
      onDropped: (reason) => options.log.info({ reason: textOf(reason) }, 'a pushed blob is not kept'),
    }
  }

  begin(registry: RegistryHost): PushCopy | undefined {
    this.#look()
    if (this.#uploading.size >= PUSHES_MAX) return undefined
    const copy = new PushedCopy(this.#parts)
    const upload = { atMs: this.#nowMs() }
    this.#uploading.set(copy, upload)
    this.#looking ??= setInterval(() => this.#look(), LOOK_MS).unref()
    const end = () => this.#uploading.delete(copy)
    return {
      get bytes() {
        return copy.bytes
      },
      get isDropped() {
        return copy.isDropped
      },
      append: (chunk) => {
        upload.atMs = this.#nowMs()
        copy.append(chunk)
      },
      rewind: (to) => copy.rewind(to),
      drop: () => {
        end()
        copy.drop()
      },
      accepted: (blob) => {
        end()
        if (blob.registry === registry) this.#accept(copy, blob)
        else copy.drop()
      },
    }
  }

  mounted(blob: RegistryBlob): void {
    this.#accepted.get(keyOf(blob))?.repositories.add(blob.repository)
  }

  released(image: ImagePlan): void {
    const found = image.blobs.flatMap((blob) => {
      const key = keyOf({ ...image, ...blob })
      const accepted = this.#accepted.get(key)
      return accepted?.repositories.has(image.repository) ? [{ blob, key, accepted }] : []
    })
    if (found.length === 0) return
    this.#options.plan({ ...image, blobs: found.map(({ blob }) => blob) })
    for (const { blob, key, accepted } of found) {
      this.#accepted.delete(key)
      this.#options.boundary.run(() => this.#share({ ...image, ...blob }, accepted))
    }
  }

  close(): void {
    clearInterval(this.#looking)
    for (const copy of this.#uploading.keys()) copy.drop()
    for (const { copy } of this.#accepted.values()) copy.drop()
  }

  #accept(copy: PushedCopy, blob: RegistryBlob): void {
    const key = keyOf(blob)
    const before = this.#accepted.get(key)
    if (before !== undefined && !before.copy.isDropped) {
      before.repositories.add(blob.repository)
      copy.drop()
      return
    }
    const sealed = copy.seal()
    this.#accepted.set(key, {
      copy,
      sealed,
      repositories: new Set([blob.repository]),
      sinceMs: this.#nowMs(),
    })
    for (const [oldest, { copy: other }] of this.#accepted) {
      if (this.#accepted.size <= PUSHED_BLOBS_MAX) return
      this.#accepted.delete(oldest)
      other.drop()
    }
  }

  async #share(request: BlobRequest, { copy, sealed }: Accepted): Promise<void> {
    const whole = await sealed
    if (whole === undefined) return
    if (whole.digest !== request.digest || whole.bytes !== request.bytes) {
      copy.drop('it is not what the registry took')
      return
    }
    try {
      const isAdopted = await this.#granted(() => this.#options.share(request, whole))
      if (isAdopted) copy.adopted()
      else copy.drop()
    } catch (error) {
      copy.drop(error)
    }
  }

  /** The tracker may be away for a moment, or wait for a slow registry. Its refusal is final. */
  async #granted<Result>(share: () => Promise<Result>): Promise<Result> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await share()
      } catch (error) {
        const isLater = error instanceof TrackerUnavailableError || error instanceof GrantLateError
        if (!isLater || tries === GRANT_TRIES_MAX) throw error
        await setTimeout(GRANT_PAUSE_MS * 2 ** (tries - 1), undefined, { ref: false })
      }
    }
  }

  /** Ends what was abandoned. */
  #look(): void {
    const nowMs = this.#nowMs()
    for (const [copy, { atMs }] of this.#uploading) {
      if (nowMs - atMs > PUSH_IDLE_MS_MAX) copy.drop('the push was abandoned')
      if (copy.isDropped) this.#uploading.delete(copy)
    }
    for (const [key, { copy, sinceMs }] of this.#accepted) {
      if (nowMs - sinceMs > PUSHED_WAIT_MS_MAX) copy.drop('no manifest named it')
      if (copy.isDropped) this.#accepted.delete(key)
    }
    if (this.#uploading.size > 0 || this.#accepted.size > 0) return
    clearInterval(this.#looking)
    this.#looking = undefined
  }
}

function keyOf({ registry, digest }: { registry: RegistryHost; digest: string }): string {
  return `${registry} ${digest}`
}

function textOf(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason)
}
