import { verify, type X509Certificate } from 'node:crypto'
import { claimsOf, type PullClaims } from '../../core/certificate-claims.ts'
import type { Boundary } from '../../core/defects.ts'
import type { NodeId } from '../../core/metainfo.ts'
import { signingInputHash } from '../../core/registry-token.ts'
import type { BlobKey } from '../client.ts'
import type { ProofRate } from '../engine/proof-rate.ts'
import { PeerProtocolError, PeerRefusedError } from '../errors.ts'
import { type Admission, type ProvenToken, TokenKeyUnknownError } from '../membership/admission.ts'
import type { ClusterTrustState } from '../membership/cluster-trust.ts'
import type { ProofMessage } from '../wire/extensions.ts'
import type { PullOpening } from '../wire/link-messages.ts'
import { LINK_PULLS_MAX, OpenPulls } from './open-pulls.ts'
import { keyOf, parseCertificate } from './proof-binding.ts'
import { type PullStatement, proofBindingOf, pullStatementBytes } from './pull-statement.ts'

/** Bound of pulls that wait on one link for their turn, in bytes: 64 of the usual kind, or some with the longest tokens. */
export const WAITING_BYTES_MAX = 1024 * 1024

export interface LinkAdmissionOptions {
  /** The link's: a pull that no honest node shows ends the link. */
  boundary: Boundary
  /** The node at the other end. */
  node: NodeId
  trust: Pick<ClusterTrustState, 'hasIssued' | 'isRevoked' | 'vouchesFor'>
  admission: Pick<Admission, 'needsProof' | 'hasProven' | 'checkProof' | 'isWithdrawn'>
  proofs: ProofRate
  /** What the other side must have signed to open this pull here. */
  statementOf(certificate: X509Certificate): PullStatement
  /** Pulls were opened or closed, or the last one that waited is settled. */
  onChange(): void
  /** The other side is told that this pull opens nothing. */
  refuse(pullId: string): void
}

/** A pull whose certificate and signature are right. */
interface Signed {
  claims: PullClaims
  certificate: X509Certificate
  key: string
  proof: ProofMessage | undefined
}

/**
 * Admits the pulls of the other side of a link, one at a time. Each needs a certificate of the cluster's authority for the
 * node at the other end, a signature of its key over this very link, and a proof of its token; the signature is checked
 * first, as a proof that was verified before counts wherever it is shown.
 */
export class LinkAdmission {
  readonly pulls = new OpenPulls()
  readonly #options: LinkAdmissionOptions
  #waiting: PullOpening[] = []
  #isBusy = false
  #isClosed = false
  #timer: NodeJS.Timeout | undefined
  #endTimer: NodeJS.Timeout | undefined

  constructor(options: LinkAdmissionOptions) {
    this.#options = options
  }

  /** No pull waits for its turn, for a place among the proofs, or for the tracker's word on a key. */
  get isSettled(): boolean {
    return !this.#isBusy && this.#waiting.length === 0
  }

  opens(blob: BlobKey): boolean {
    return this.pulls.opens(blob)
  }

  /** @throws PeerProtocolError, PeerRefusedError, CertificateClaimsError */
  take(message: PullOpening | { type: 'closed'; pull: string }): void {
    if (message.type === 'closed') {
      if (this.pulls.close(message.pull)) this.#changed()
      return
    }
    const waitingBytes = this.#waiting.reduce((sum, opening) => sum + bytesOf(opening), bytesOf(message))
    if (this.#waiting.length >= LINK_PULLS_MAX || waitingBytes > WAITING_BYTES_MAX)
      throw new PeerProtocolError('too many pulls at once')
    this.#waiting.push(message)
    this.#continue()
  }

  /** Closes what has ended, was revoked, or rests on a withdrawn authority or key. */
  recheck(): void {
    const { trust, admission } = this.#options
    const nowMs = Date.now()
    const closed = this.pulls.retain(
      ({ claims, certificate, proven }) =>
        certificate.validToDate.getTime() > nowMs &&
        !trust.isRevoked(claims) &&
        trust.vouchesFor([certificate]) &&
        !admission.isWithdrawn(proven) &&
        // The registry turned out to want a credential.
        (proven !== undefined || !admission.needsProof(claims)),
    )
    for (const pullId of closed) this.#options.refuse(pullId)
    if (closed.length > 0) this.#changed()
  }

  close(): void {
    this.#isClosed = true
    this.#waiting = []
    clearTimeout(this.#timer)
    clearTimeout(this.#endTimer)
  }

  #continue(): void {
    while (!this.#isBusy && !this.#isClosed) {
      const message = this.#waiting.shift()
      if (message === undefined) return
      this.#isBusy = true
      this.#begin(message)
    }
  }

  #begin(message: PullOpening): void {
    const { trust } = this.#options
    const certificate = parseCertificate(message.certificate)
    const claims = claimsOf(certificate)
    if (claims.kind !== 'pull') throw new PeerRefusedError(`a ${claims.kind} certificate allows no downloads`)
    // Of another authority: one of both sides has not heard of a change yet.
    if (!trust.hasIssued(certificate)) return void this.#refuse(claims)
    this.#checkSigner({ claims, certificate, signature: message.signature })
    this.#admit({ claims, certificate, key: keyOf(certificate), proof: message.proof })
  }

  #checkSigner(shown: { claims: PullClaims; certificate: X509Certificate; signature: Buffer }): void {
    const { claims, certificate, signature } = shown
    if (claims.node !== this.#options.node) throw new PeerRefusedError("another node's certificate")
    const signed = pullStatementBytes(this.#options.statementOf(certificate))
    if (!verify('sha256', signed, certificate.publicKey, signature))
      throw new PeerRefusedError('the pull is not signed by its key for this link')
  }

  #admit(pull: Signed): void {
    const { trust, admission, proofs } = this.#options
    const { claims, key, proof } = pull
    const renewed = this.pulls.renewedBy(pull)
    if (trust.isRevoked(claims)) this.#refuse(claims)
    else if (renewed !== undefined) this.#open(pull, renewed.proven)
    else if (!this.pulls.hasRoomFor(claims.pullId)) this.#refuse(claims)
    else if (!admission.needsProof(claims)) this.#open(pull, undefined)
    else if (proof === undefined) this.#refuse(claims)
    else if (admission.hasProven(claims, proof, key)) this.#prove(pull, proof)
    else {
      // Before it takes a place: a proof of anything else costs its sender the link, and nobody else a turn.
      if (signingInputHash(proof.signingInput) !== claims.tokenHash)
        throw new PeerRefusedError('the certificate is bound to another token')
      const waitMs = proofs.take(performance.now(), this.#options.node)
      if (waitMs === undefined) this.#refuse(claims)
      else this.#later(waitMs, () => this.#prove(pull, proof))
    }
  }

  #prove(pull: Signed, proof: ProofMessage, isSecond = false): void {
    const { claims, certificate, key } = pull
    const { admission, boundary, statementOf, trust } = this.#options
    // It, or its authority, may have been revoked while it waited.
    if (trust.isRevoked(claims) || !trust.hasIssued(certificate)) return void this.#refuse(claims)
    try {
      const token = admission.checkProof(claims, proof, proofBindingOf(statementOf(certificate)), key)
      this.#open(pull, { registry: claims.registry, token })
    } catch (error) {
      if (!(error instanceof TokenKeyUnknownError)) throw error
      if (isSecond) return void this.#refuse(claims)
      const again = boundary.callback(() => this.#isClosed || this.#prove(pull, proof, true))
      void error.ask().then(again)
    }
  }

  #open({ claims, certificate, key }: Signed, proven: ProvenToken | undefined): void {
    this.pulls.add({ claims, certificate, key, proven })
    this.#settle()
  }

  #refuse({ pullId }: PullClaims): void {
    this.#options.refuse(pullId)
    this.#settle()
  }

  #settle(): void {
    this.#isBusy = false
    this.#changed()
    this.#continue()
  }

  #changed(): void {
    if (this.#isClosed) return
    clearTimeout(this.#endTimer)
    const endMs = this.pulls.firstEndMs()
    if (endMs !== undefined) {
      const recheck = this.#options.boundary.callback(() => this.recheck())
      this.#endTimer = setTimeout(recheck, Math.max(0, endMs - Date.now()) + 1).unref()
    }
    this.#options.onChange()
  }

  #later(delayMs: number, act: () => void): void {
    if (delayMs === 0) return void act()
    this.#timer = setTimeout(this.#options.boundary.callback(act), delayMs).unref()
  }
}

function bytesOf({ certificate, proof }: PullOpening): number {
  return certificate.length + (proof === undefined ? 0 : proof.signingInput.length + proof.proof.length)
}
