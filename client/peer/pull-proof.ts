import { verify, X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import { type CertificateClaims, claimsOf, type PullClaims } from '../../core/certificate-claims.ts'
import type { ProofBinding } from '../../core/token-proof/index.ts'
import { PeerRefusedError } from '../errors.ts'
import { type ProvenToken, TokenKeyUnknownError } from '../membership/admission.ts'
import {
  decodeProof,
  decodeShownCertificate,
  type ExtensionName,
  encodeProof,
  encodeShownCertificate,
} from '../wire/extensions.ts'
import type { Message } from '../wire/messages.ts'
import type { LinkHost } from './link-host.ts'
import { keyOf, parseCertificate, proofBinding } from './proof-binding.ts'

const SHOWN_LABEL = Buffer.from('shoal-shown-certificate-v1\0')

type ProofHost = Pick<
  LinkHost,
  'prover' | 'pullCredential' | 'checkCertificate' | 'checkProof' | 'hasIssued' | 'isRevoked'
>

/**
 * Each end of a connection shows the other that it may download: with its pull certificate, then with the token's
 * proof under it. A dialler presents the certificate in TLS. An acceptor presents its serve certificate there,
 * because any dialler receives that. It shows its pull certificate inside the connection, with a signature of that
 * key over this connection. Invariant: `claims` are those of a certificate that a trusted authority issued to the
 * node at the other end.
 */
export class PullProof {
  readonly #socket: TLSSocket
  readonly #host: ProofHost
  readonly #isDialler: boolean
  readonly #remote: X509Certificate
  readonly #local: X509Certificate
  #shown: X509Certificate | undefined
  #claimed: CertificateClaims
  #isSent = false
  #hasAsked = false
  /** The other side's proven token; undefined until then. */
  proven: ProvenToken | undefined

  constructor(socket: TLSSocket, { host, isDialler }: { host: ProofHost; isDialler: boolean }) {
    this.#socket = socket
    this.#host = host
    this.#isDialler = isDialler
    this.#remote = socket.getPeerX509Certificate()!
    this.#local = socket.getX509Certificate()!
    this.#claimed = claimsOf(this.#remote)
  }

  /** The other side's claims. */
  get claims(): CertificateClaims {
    return this.#claimed
  }

  /** Certificates of both sides. */
  get certificates(): X509Certificate[] {
    return [this.#remote, this.#local, ...(this.#shown ? [this.#shown] : [])]
  }

  /**
   * The messages that show this side's pull; once.
   * @param ids under which the other side accepts them
   * @returns nothing when this side downloads nothing, or has sent them before
   */
  messages(ids: Partial<Record<ExtensionName, number>>): Extract<Message, { type: 'extended' }>[] {
    // A destroyed socket has no exporter any more; its close event follows.
    if (this.#isSent || this.#socket.destroyed) return []
    const messages: ReturnType<PullProof['messages']> = []
    const prover = this.#host.prover()
    const credential = this.#isDialler ? undefined : this.#host.pullCredential()
    const own = this.#isDialler ? this.#local : credential && new X509Certificate(credential.certificatePem)
    if (own === undefined || (credential ?? prover) === undefined) return []
    const binding = this.#binding(this.#isDialler ? 'dialler' : 'acceptor', own, this.#remote)
    if (credential && ids.shoal_certificate !== undefined) {
      const payload = encodeShownCertificate({
        certificate: own.raw,
        signature: credential.sign(shownBytes(binding)),
      })
      messages.push({ type: 'extended', extension: ids.shoal_certificate, payload })
    }
    if (prover && ids.shoal_proof !== undefined) {
      const payload = encodeProof({ signingInput: prover.signingInput, proof: prover.prove(binding) })
      messages.push({ type: 'extended', extension: ids.shoal_proof, payload })
    }
    this.#isSent = messages.length > 0
    return messages
  }

  /** Whether the other side may still show a certificate: an acceptor with a serve certificate in TLS, once. */
  get awaitsCertificate(): boolean {
    return this.#isDialler && this.#claimed.kind === 'serve'
  }

  /**
   * The acceptor shows its pull certificate.
   * @throws PeerProtocolError, PeerRefusedError, CertificateClaimsError
   */
  takeCertificate(payload: Buffer): { claims: PullClaims; certificate: X509Certificate } {
    const message = decodeShownCertificate(payload)
    const certificate = parseCertificate(message.certificate)
    if (!this.#host.hasIssued(certificate))
      throw new PeerRefusedError('a certificate of no trusted authority')
    const signed = shownBytes(this.#binding('acceptor', certificate, this.#local))
    if (!verify('sha256', signed, certificate.publicKey, message.signature))
      throw new PeerRefusedError("the certificate is not the other side's own")
    const claims = this.#host.checkCertificate(claimsOf(certificate))
    if (claims.node !== this.#claimed.node) throw new PeerRefusedError("another node's certificate")
    if (this.#host.isRevoked(claims)) throw new PeerRefusedError('revoked')
    this.#shown = certificate
    this.#claimed = claims
    return { claims, certificate }
  }

  /**
   * The other side proves that it holds its token.
   * @param again called with the proof when the tracker was asked about a key that is unknown here; once, and not if
   *   another proof was right in the meantime
   * @returns undefined if it will be called
   * @throws PeerProtocolError, PeerRefusedError
   */
  takeProof(payload: Buffer, again: (payload: Buffer) => void): PullClaims | undefined {
    try {
      return this.#checkedProof(payload)
    } catch (error) {
      if (!(error instanceof TokenKeyUnknownError) || this.#hasAsked) throw error
      this.#hasAsked = true
      const kept = Buffer.from(payload)
      void error.ask().then(() => {
        // Another proof may have come meanwhile: nobody is admitted twice.
        if (!this.#socket.destroyed && this.proven === undefined) again(kept)
      })
      return undefined
    }
  }

  #checkedProof(payload: Buffer): PullClaims {
    const message = decodeProof(payload)
    const claims = this.#host.checkCertificate(this.#claimed)
    const certificate = this.#shown ?? this.#remote
    const binding = this.#binding(this.#isDialler ? 'acceptor' : 'dialler', certificate, this.#local)
    const token = this.#host.checkProof(claims, message, binding, keyOf(certificate))
    this.proven = { registry: claims.registry, token }
    return claims
  }

  #binding(role: ProofBinding['role'], prover: X509Certificate, verifier: X509Certificate): ProofBinding {
    return proofBinding(this.#socket, { role, prover, verifier })
  }
}

function shownBytes({ exporter, proverCertificate, verifierCertificate }: ProofBinding): Buffer {
  return Buffer.concat([SHOWN_LABEL, exporter, proverCertificate, verifierCertificate])
}
