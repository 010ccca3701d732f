import { CERTIFICATE_BLOBS_MAX } from '../../core/certificate-claims.ts'
import type { Defects } from '../../core/defects.ts'
import type { Digest } from '../../core/digest.ts'
import { parseRegistryToken, RegistryTokenError } from '../../core/registry-token.ts'
import type { RegistryHost, Repository } from '../../core/repository.ts'
import type { TokenKeys } from '../../core/token-keys.ts'
import { prepareProver, type TokenProver } from '../../core/token-proof/index.ts'
import type { Credential, GrantedSwarm, PullResponse } from '../../core/tracker-api.ts'
import type { BlobRequest } from '../client.ts'
import { TrackerRefusedError } from '../errors.ts'
import type { ClusterTrustState, PeerCredential } from './cluster-trust.ts'
import { makeKey, RENEW_AT_SHARE } from './node-identity.ts'
import type { TrackerClient } from './tracker-client.ts'

/** The tracker's permission to pull the blobs of one image, with its proof towards peers. */
export interface Grant {
  readonly pull: string
  readonly registry: RegistryHost
  readonly repository: Repository
  readonly swarms: ReadonlyMap<Digest, GrantedSwarm>
  /** Replaced with a certificate that is bound to another token. */
  prover: TokenProver | undefined
  /** Replaced by every renewal. */
  credential: PeerCredential
}

/** A grant with its private parts. */
interface Held {
  /** The key of its certificates. */
  privateKeyPem: string
  /** Which key signed its peer token; absent: it has none. */
  peerTokenKeyId: string | undefined
  timer: NodeJS.Timeout | undefined
}

export interface GrantsOptions {
  tracker: TrackerClient
  trust: ClusterTrustState
  defects: Defects
  tokenKeys: TokenKeys
  patienceMs: number
  listenPort: () => number
  /** Blobs that the image's manifest named beside the one asked for. */
  planned: (request: BlobRequest) => { digest: Digest; bytes: number }[]
  isInUse: (grant: Grant) => boolean
  onRenewed: (grant: Grant) => void
}

/** A grant with a shorter remaining life is not used for new pulls; a new one is requested. */
const LIFE_MS_MIN = 60_000

/** The grants of this node. One request to the tracker for each image: blobs of one manifest share a grant. */
export class Grants {
  readonly #options: GrantsOptions
  readonly #granted = new Map<Grant, Held>()
  readonly #inFlight = new Map<string, Promise<Grant>>()

  constructor(options: GrantsOptions) {
    this.#options = options
  }

  /**
   * A grant that covers the blob.
   * @throws TrackerUnavailableError, TrackerRefusedError
   */
  async obtain(request: BlobRequest): Promise<{ grant: Grant; swarm: GrantedSwarm }> {
    const ready = this.#find(request)
    if (ready) return ready
    const key = `${request.registry}/${request.repository}`
    const running = this.#inFlight.get(key)
    if (running) {
      await running.catch(() => undefined)
      const shared = this.#find(request)
      if (shared) return shared
    }
    const asked = this.#ask(request)
    this.#inFlight.set(key, asked)
    try {
      return covering(await asked, request.digest)
    } finally {
      if (this.#inFlight.get(key) === asked) this.#inFlight.delete(key)
    }
  }

  /**
   * Another authority issues, or another key mints peer tokens: renews the grants that rest on the previous one, or
   * drops those that nothing needs.
   */
  renewOutdated(): void {
    for (const [grant, held] of this.#granted) {
      const isOutdated = this.#options.trust.isOutdated(grant.credential.certificatePem)
      if (!isOutdated && !this.#isTokenOutdated(grant, held)) continue
      if (!this.#options.isInUse(grant)) this.#forget(grant)
      // On failure the certificate is still valid: the next heartbeat tries again.
      else this.#renew(grant).catch(() => undefined)
    }
  }

  close(): void {
    for (const grant of this.#granted.keys()) this.#forget(grant)
  }

  #find(request: BlobRequest): { grant: Grant; swarm: GrantedSwarm } | undefined {
    for (const grant of this.#granted.keys()) {
      const swarm = grant.swarms.get(request.digest)
      const isFor = grant.registry === request.registry && grant.repository === request.repository
      if (isFor && swarm && grant.credential.expiresAtMs - Date.now() > LIFE_MS_MIN) return { grant, swarm }
    }
    return undefined
  }

  async #ask(request: BlobRequest): Promise<Grant> {
    const { tracker, trust, patienceMs } = this.#options
    const key = makeKey()
    const planned = this.#options.planned(request).filter(({ digest }) => digest !== request.digest)
    const answer = await tracker.pull(
      {
        registry: request.registry,
        repository: request.repository,
        credential: request.credential,
        publicKey: key.spki.toString('base64url'),
        listenPort: this.#options.listenPort(),
        blobs: [
          { digest: request.digest, bytes: request.bytes, isWanted: true },
          ...planned.slice(0, CERTIFICATE_BLOBS_MAX - 1).map((blob) => ({ ...blob, isWanted: false })),
        ],
      },
      patienceMs,
    )
    // The trust includes the key of this very token, so it is updated before anything is proven.
    trust.update(answer.trust)
    const grant = this.#grantOf(request, answer, key.privateKeyPem)
    const { peerToken } = answer
    const peerTokenKeyId = peerToken === null ? undefined : parseRegistryToken(peerToken).keyId
    this.#granted.set(grant, { privateKeyPem: key.privateKeyPem, peerTokenKeyId, timer: undefined })
    this.#renewLater(grant, answer.validForSeconds)
    return grant
  }

  #grantOf(request: BlobRequest, answer: PullResponse, privateKeyPem: string): Grant {
    return {
      pull: answer.pull,
      registry: request.registry,
      repository: request.repository,
      swarms: new Map(answer.swarms.map((swarm) => [swarm.digest, swarm])),
      prover: this.#proverOf(request.registry, request.credential, answer.peerToken),
      credential: this.#options.trust.credential(answer.certificate, privateKeyPem, answer.validForSeconds),
    }
  }

  #proverOf(
    registry: RegistryHost,
    credential: Credential,
    peerToken: string | null,
  ): TokenProver | undefined {
    if (peerToken !== null) return this.#proverWith(registry, peerToken)
    if (credential.scheme !== 'bearer') return undefined
    try {
      return this.#proverWith(registry, credential.token)
    } catch (error) {
      // An older tracker took the registry for open, and its tokens need no form.
      if (error instanceof RegistryTokenError) return undefined
      throw error
    }
  }

  #proverWith(registry: RegistryHost, jwt: string): TokenProver | undefined {
    const key = this.#options.tokenKeys.keyFor(registry, parseRegistryToken(jwt))
    return key && prepareProver(jwt, key)
  }

  /** Renewal keeps key, grant time and blobs, and continues only while a download needs it. */
  #renewLater(grant: Grant, validForSeconds: number): void {
    const held = this.#granted.get(grant)
    if (held === undefined) return
    const renew = () => {
      if (!this.#options.isInUse(grant)) return this.#forget(grant)
      // The certificate has a third of its life left; a new request for the blob gets a new grant.
      this.#renew(grant).catch(() => this.#forget(grant))
    }
    clearTimeout(held.timer)
    const { defects } = this.#options
    const boundary = defects.boundary('membership', () => this.#forget(grant))
    held.timer = setTimeout(boundary.callback(renew), validForSeconds * 1000 * RENEW_AT_SHARE)
    held.timer.unref()
  }

  /** @throws TrackerUnavailableError, TrackerRefusedError */
  async #renew(grant: Grant): Promise<void> {
    const { tracker, trust } = this.#options
    const before = this.#granted.get(grant)
    if (before === undefined) return
    // Only when needed: an older tracker refuses unknown fields.
    const request = this.#isTokenOutdated(grant, before) ? { wantsPeerToken: true } : {}
    const answer = await tracker.renew(grant.pull, request)
    const held = this.#granted.get(grant)
    if (held === undefined) return
    trust.update(answer.trust)
    if (answer.peerToken !== null) {
      grant.prover = this.#proverWith(grant.registry, answer.peerToken)
      held.peerTokenKeyId = parseRegistryToken(answer.peerToken).keyId
    }
    grant.credential = trust.credential(answer.certificate, held.privateKeyPem, answer.validForSeconds)
    this.#options.onRenewed(grant)
    this.#renewLater(grant, answer.validForSeconds)
  }

  #isTokenOutdated({ registry }: Grant, { peerTokenKeyId }: Held): boolean {
    return peerTokenKeyId !== undefined && this.#options.trust.isPeerTokenOutdated(registry, peerTokenKeyId)
  }

  #forget(grant: Grant): void {
    clearTimeout(this.#granted.get(grant)?.timer)
    this.#granted.delete(grant)
  }
}

function covering(grant: Grant, digest: Digest): { grant: Grant; swarm: GrantedSwarm } {
  const swarm = grant.swarms.get(digest)
  if (!swarm) {
    throw new TrackerRefusedError('the tracker did not grant the blob', {
      trackerCode: 'BLOB_REFUSED',
      status: 403,
    })
  }
  return { grant, swarm }
}
