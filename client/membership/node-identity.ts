import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { claimsOf } from '../../core/certificate-claims.ts'
import { ensureFolder, readOwnFile, replaceFile } from '../../core/data-folder.ts'
import { ShoalError } from '../../core/errors.ts'
import { spkiOf } from '../../core/issue-certificate.ts'
import type { JoinRequest, JoinResponse } from '../../core/join-api.ts'
import { machineHash } from '../../core/machine-id.ts'
import { type ClusterId, type NodeId, nodeIdOf } from '../../core/metainfo.ts'
import type { RegistriesNews } from '../../core/registries-api.ts'
import { TrackerRefusedError, TrackerUnavailableError } from '../errors.ts'
import type { ClusterTrustState, PeerCredential } from './cluster-trust.ts'
import { JOINED_FILE } from './joined-cluster.ts'
import { NODE_MEMORY_FILE } from './node-memory.ts'
import type { TrackerClient, TrackerIdentity } from './tracker-client.ts'

/** The node cannot become a member of a cluster: stop the program. */
export class JoinError extends ShoalError {
  readonly code = 'JOIN'
}

/** There is neither a valid certificate nor a join token: wait for `shoal join`. */
export class NotJoinedError extends JoinError {}

interface Joined {
  renewInMs: number
  /** Undefined: an older tracker. */
  registries: RegistriesNews | undefined
}

const KEY_FILE = 'node-key.pem'
const CERTIFICATE_FILE = 'node.pem'
/** What recognises the machine that the key was made on (core/machine-id.ts). */
const MACHINE_FILE = 'node-machine'
/** Left when a copied identity was dropped, until this machine joins. */
const WAS_COPIED_FILE = 'identity-was-copied'
/** All files of an identity. The memory file is one: it has the key of a certificate that peers see. */
const IDENTITY_FILES = [CERTIFICATE_FILE, KEY_FILE, NODE_MEMORY_FILE, JOINED_FILE, MACHINE_FILE]
/** What a join says and hears of links (link-identity.ts). */
interface JoiningLinks {
  readonly joinFields: Pick<JoinRequest, 'wire'>
  heard(answer: JoinResponse): void
  /** The tracker does not know the fields. */
  refused(): void
}

/** Of a command that joins for a node: the node renews at its start, and gets its link certificate then. */
export const NO_LINKS: JoiningLinks = { joinFields: {}, heard: () => undefined, refused: () => undefined }

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

/** Removes key, certificate, and what they were for. */
export function removeIdentity(directory: string): void {
  for (const name of [...IDENTITY_FILES, WAS_COPIED_FILE]) rmSync(join(directory, name), { force: true })
}

/** The node certificate in a data folder; undefined: none. @throws DataFolderError */
export function certificateIn(directory: string): string | undefined {
  return readOwnFile(join(directory, CERTIFICATE_FILE))
}

/** Whether this machine has joined a cluster, or another from which the folder was copied. */
export function hasJoined(directory: string): boolean {
  return [CERTIFICATE_FILE, JOINED_FILE].some((name) => readOwnFile(join(directory, name)) !== undefined)
}

/**
 * This node's identity in its cluster: a key that never leaves `dataDir` (0600), and its certificate from the
 * tracker, renewed over mutual TLS at two thirds of its life. A restart needs no join token. An identity that was copied to
 * another machine is dropped before anybody is shown it: two machines must not be one node.
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

  /** @param machine what recognises this machine; undefined: nothing does, and no copy is noticed */
  static async load(directory: string, machine = machineHash()): Promise<NodeIdentity> {
    ensureFolder(directory)
    const madeOn = readOwnFile(join(directory, MACHINE_FILE))?.trim()
    if (madeOn !== undefined && machine !== undefined && madeOn !== machine) {
      removeIdentity(directory)
      replaceFile(join(directory, WAS_COPIED_FILE), '')
    }
    let privateKeyPem = readOwnFile(join(directory, KEY_FILE))
    if (machine !== undefined && (madeOn !== machine || privateKeyPem === undefined)) {
      replaceFile(join(directory, MACHINE_FILE), `${machine}\n`)
    }
    if (privateKeyPem === undefined) {
      privateKeyPem = makeKey().privateKeyPem
      replaceFile(join(directory, KEY_FILE), privateKeyPem)
    }
    return new NodeIdentity(directory, privateKeyPem, readOwnFile(join(directory, CERTIFICATE_FILE)))
  }

  /** This folder had another machine's identity, and this machine has not joined since. */
  get wasCopied(): boolean {
    return readOwnFile(join(this.#directory, WAS_COPIED_FILE)) !== undefined
  }

  /** Takes up a certificate that `shoal join` wrote since. @returns whether there is one */
  reload(): boolean {
    const pem = readOwnFile(join(this.#directory, CERTIFICATE_FILE))
    if (pem === undefined || pem === this.#certificatePem) return false
    if (claimsOf(new X509Certificate(pem)).node !== this.node) return false
    this.#certificatePem = pem
    return true
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
   * Joins, or renews.
   * @param onAnswer called before the certificate is written
   * @returns milliseconds until the next renewal, and the tracker's registries
   * @throws JoinError when there is neither a certificate that the tracker accepts nor a join token
   * @throws TrackerUnavailableError, TrackerRefusedError
   */
  async join(
    tracker: TrackerClient,
    joinToken: string | undefined,
    links: JoiningLinks,
    onAnswer: () => void = () => undefined,
  ): Promise<Joined> {
    const ask = (request: JoinRequest) => askInEitherForm(tracker, request, links)
    const answer = (await this.#renewed(tracker, ask)) ?? (await this.#joined(ask, joinToken))
    onAnswer()
    this.#certificatePem = answer.certificate
    replaceFile(join(this.#directory, CERTIFICATE_FILE), answer.certificate)
    rmSync(join(this.#directory, WAS_COPIED_FILE), { force: true })
    tracker.identify({ certificatePem: answer.certificate, privateKeyPem: this.#privateKeyPem })
    links.heard(answer)
    return { renewInMs: answer.validForSeconds * 1000 * RENEW_AT_SHARE, registries: answer.registries }
  }

  /** Undefined when there is no certificate that the tracker still accepts. */
  async #renewed(tracker: TrackerClient, ask: Ask): Promise<JoinResponse | undefined> {
    const current = this.current()
    if (current === undefined) return undefined
    tracker.identify(current)
    try {
      return await ask({ publicKey: this.publicKey })
    } catch (error) {
      // Its authority was withdrawn while this node was off or disconnected.
      if (isCertificateRefused(error)) return undefined
      throw error
    }
  }

  #joined(ask: Ask, joinToken: string | undefined): Promise<JoinResponse> {
    if (joinToken !== undefined) return ask({ joinToken, publicKey: this.publicKey })
    throw new NotJoinedError(`${this.#whyNotJoined()}, and it was given no join token`, {
      hint: 'Run `shoal join` with a new join string (`shoal admin token create` at the tracker), or name the file with the join token with --join-token-file.',
    })
  }

  #whyNotJoined(): string {
    if (this.#certificatePem === undefined) return 'this node has not joined a cluster yet'
    if (this.current() !== undefined) return 'the tracker no longer accepts the certificate of this node'
    const end = new X509Certificate(this.#certificatePem).validToDate.toISOString().slice(0, 16)
    return `this node did not reach its tracker for more than a day, and its certificate ended at ${end.replace('T', ' ')} UTC`
  }

  /** What this node shows to peers with a certificate for its own key. */
  credential(trust: ClusterTrustState, certificatePem: string, validForSeconds: number): PeerCredential {
    return trust.credential(certificatePem, this.#privateKeyPem, validForSeconds)
  }

  get publicKey(): string {
    return spkiOf(createPrivateKey(this.#privateKeyPem)).toString('base64url')
  }

  /** The certificate with its key; undefined when there is none, or it has ended. */
  current(): TrackerIdentity | undefined {
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
