import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { claimsOf } from '../../core/certificate-claims.ts'
import { ensureFolder, readOwnFile, replaceFile } from '../../core/data-folder.ts'
import { ShoalError } from '../../core/errors.ts'
import { spkiOf } from '../../core/issue-certificate.ts'
import type { JoinRequest, JoinResponse } from '../../core/join-api.ts'
import { type ClusterId, type NodeId, nodeIdOf } from '../../core/metainfo.ts'
import type { RegistriesNews } from '../../core/registries-api.ts'
import { TrackerRefusedError, TrackerUnavailableError } from '../errors.ts'
import type { ClusterTrustState, PeerCredential } from './cluster-trust.ts'
import type { TrackerClient, TrackerIdentity } from './tracker-client.ts'

/** The node cannot become a member of a cluster: stop the program. */
export class JoinError extends ShoalError {
  readonly code = 'JOIN'
}

interface Joined {
  renewInMs: number
  /** Undefined: an older tracker. */
  registries: RegistriesNews | undefined
}

/** What a join says and hears of links (link-identity.ts). */
interface JoiningLinks {
  readonly joinFields: Pick<JoinRequest, 'wire'>
  heard(answer: JoinResponse): void
  /** The tracker does not know the fields. */
  refused(): void
}

type Ask = (request: JoinRequest) => Promise<JoinResponse>

/** Share of a certificate's life after which it is renewed. */
export const RENEW_AT_SHARE = 2 / 3

/** A new key (ECDSA P-256): its PKCS#8 PEM, and the DER of its public half. */
export function makeKey(): { privateKeyPem: string; spki: Buffer } {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return {
    privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    spki: spkiOf(privateKey),
  }
}

/**
 * This node's identity in its cluster: a key that never leaves `dataDir` (0600), and its certificate from the
 * tracker, renewed over mutual TLS at two thirds of its life. A restart needs no join token.
 */
export class NodeIdentity {
  readonly node: NodeId
  readonly #directory: string
  readonly #privateKeyPem: string
  #certificatePem: string | undefined

  private constructor(directory: string, privateKeyPem: string, certificatePem: string | undefined) {
    this.#directory = directory
    this.#privateKeyPem = privateKeyPem
    this.#certificatePem = certificatePem
    this.node = nodeIdOf(spkiOf(createPrivateKey(privateKeyPem)))
  }

  static async load(directory: string): Promise<NodeIdentity> {
    ensureFolder(directory)
    let privateKeyPem = readOwnFile(join(directory, 'node-key.pem'))
    if (privateKeyPem === undefined) {
      privateKeyPem = makeKey().privateKeyPem
      replaceFile(join(directory, 'node-key.pem'), privateKeyPem)
    }
    return new NodeIdentity(directory, privateKeyPem, readOwnFile(join(directory, 'node.pem')))
  }

  /** The node certificate; undefined until the node has joined for the first time. */
  get certificate(): string | undefined {
    return this.#certificatePem
  }

  /** Undefined until the node has joined for the first time. */
  get cluster(): ClusterId | undefined {
    return this.#certificatePem === undefined
      ? undefined
      : claimsOf(new X509Certificate(this.#certificatePem)).cluster
  }

  /**
   * Joins, or renews. @returns milliseconds until the next renewal, and the tracker's registries
   * @throws JoinError when there is neither a certificate that the tracker accepts nor a join token
   * @throws TrackerUnavailableError, TrackerRefusedError
   */
  async join(tracker: TrackerClient, joinToken: string | undefined, links: JoiningLinks): Promise<Joined> {
    const ask = (request: JoinRequest) => askInEitherForm(tracker, request, links)
    const answer = (await this.#renewed(tracker, ask)) ?? (await this.#joined(ask, joinToken))
    this.#certificatePem = answer.certificate
    replaceFile(join(this.#directory, 'node.pem'), answer.certificate)
    tracker.identify({ certificatePem: answer.certificate, privateKeyPem: this.#privateKeyPem })
    links.heard(answer)
    return { renewInMs: answer.validForSeconds * 1000 * RENEW_AT_SHARE, registries: answer.registries }
  }

  /** Undefined when there is no certificate that the tracker still accepts. */
  async #renewed(tracker: TrackerClient, ask: Ask): Promise<JoinResponse | undefined> {
    const current = this.#currentIdentity()
    if (current === undefined) return undefined
    tracker.identify(current)
    try {
      return await ask({ publicKey: this.#publicKey })
    } catch (error) {
      // Its authority was withdrawn while this node was off or disconnected.
      if (isCertificateRefused(error)) return undefined
      throw error
    }
  }

  #joined(ask: Ask, joinToken: string | undefined): Promise<JoinResponse> {
    if (joinToken !== undefined) return ask({ joinToken, publicKey: this.#publicKey })
    const why =
      this.#certificatePem === undefined
        ? 'this node has not joined a cluster yet'
        : "this node's certificate has expired, or its authority was withdrawn,"
    throw new JoinError(`${why} and it was given no join token`, {
      hint: 'name the file that holds the join token with --join-token-file',
    })
  }

  /** What this node shows to peers with a certificate for its own key. */
  credential(trust: ClusterTrustState, certificatePem: string, validForSeconds: number): PeerCredential {
    return trust.credential(certificatePem, this.#privateKeyPem, validForSeconds)
  }

  get #publicKey(): string {
    return spkiOf(createPrivateKey(this.#privateKeyPem)).toString('base64url')
  }

  #currentIdentity(): TrackerIdentity | undefined {
    if (this.#certificatePem === undefined) return undefined
    const isOver = new X509Certificate(this.#certificatePem).validToDate.getTime() <= Date.now()
    return isOver ? undefined : { certificatePem: this.#certificatePem, privateKeyPem: this.#privateKeyPem }
  }
}

/** An older tracker refuses what it does not know; it is asked once more, in the form that it knows. */
async function askInEitherForm(
  tracker: TrackerClient,
  request: JoinRequest,
  links: JoiningLinks,
): Promise<JoinResponse> {
  const fields = links.joinFields
  try {
    return await tracker.join({ ...request, ...fields })
  } catch (error) {
    if (fields.wire === undefined || !isFieldRefused(error)) throw error
    links.refused()
    return tracker.join(request)
  }
}

/** The tracker is older than a field of the message. */
export function isFieldRefused(error: unknown): boolean {
  return error instanceof TrackerRefusedError && error.trackerCode === 'INVALID_INPUT'
}

/** The tracker does not accept the node certificate (any more): join again. */
export function isCertificateRefused(error: unknown): boolean {
  return error instanceof TrackerRefusedError && error.trackerCode === 'CERTIFICATE_REFUSED'
}

/** The tracker is down or overloaded: nothing that an operator must repair at the node. */
export function isPassing(error: unknown): boolean {
  if (error instanceof TrackerUnavailableError) return true
  return error instanceof TrackerRefusedError && error.trackerCode === 'REQUESTS_TOO_MANY'
}

export function refusedJoin(cause: TrackerRefusedError): JoinError {
  return new JoinError(cause.message, {
    cause,
    hint: 'The join token may have been replaced or have expired: `shoal admin token rotate` makes a new one.',
  })
}
