import { X509Certificate } from 'node:crypto'
import type { Grant } from '../membership/grant.ts'
import type { PullMessage } from '../wire/link-messages.ts'
import { LINK_PULLS_MAX } from './open-pulls.ts'
import { type PullStatement, proofBindingOf, pullStatementBytes } from './pull-statement.ts'

export interface ShownPullsOptions {
  /** What this side signs to open this pull at the other one. */
  statementOf(certificate: X509Certificate): PullStatement
  /** A blob of the pull is downloaded over the link. */
  isWanted(pull: string): boolean
  send(message: PullMessage): void
}

/** This side's pulls on one link: each is opened once, proven once, and renewed by its certificate alone. */
export class ShownPulls {
  readonly #options: ShownPullsOptions
  /** By pull id: the certificate that the other side knows, its end, and the token that was proven. */
  readonly #shown = new Map<string, { certificatePem: string; endMs: number; signingInput?: string }>()

  constructor(options: ShownPullsOptions) {
    this.#options = options
  }

  has(pull: string): boolean {
    return this.#shown.has(pull)
  }

  open({ pull, credential, prover }: Grant, nowMs: number): void {
    const known = this.#shown.get(pull)
    const isKnown = known !== undefined && known.endMs > nowMs
    if (isKnown && known.certificatePem === credential.certificatePem) return
    if (!isKnown) this.#makeRoom(nowMs)
    const certificate = new X509Certificate(credential.certificatePem)
    const statement = this.#options.statementOf(certificate)
    const { signingInput = '' } = prover ?? {}
    // The tracker's own tokens are replaced when its key is.
    const isProven = prover === undefined || (isKnown && known.signingInput === signingInput)
    this.#options.send({
      type: 'open',
      certificate: certificate.raw,
      signature: credential.sign(pullStatementBytes(statement)),
      proof: isProven
        ? undefined
        : { signingInput: prover.signingInput, proof: prover.prove(proofBindingOf(statement)) },
    })
    const endMs = certificate.validToDate.getTime()
    this.#shown.set(pull, { certificatePem: credential.certificatePem, endMs, signingInput })
  }

  /** The other side serves nothing under it: the next attempt is a new one. */
  refused(pull: string): void {
    this.#shown.delete(pull)
  }

  /** Pulls stay open for the next layer of their image, until others need the places. */
  #makeRoom(nowMs: number): void {
    for (const [pull, { endMs }] of this.#shown) if (endMs <= nowMs) this.#shown.delete(pull)
    for (const pull of [...this.#shown.keys()]) {
      if (this.#shown.size < LINK_PULLS_MAX) return
      if (this.#options.isWanted(pull)) continue
      this.#shown.delete(pull)
      this.#options.send({ type: 'closed', pull })
    }
  }
}
