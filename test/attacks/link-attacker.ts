import { createPrivateKey, sign, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type TLSSocket } from 'node:tls'
import {
  type PullStatement,
  proofBindingOf,
  pullStatementBytes,
  statementOf,
} from '../../client/peer/pull-statement.ts'
import type { ProofMessage } from '../../client/wire/extensions.ts'
import { FrameReader } from '../../client/wire/frame-reader.ts'
import { encodeHandshake } from '../../client/wire/handshake.ts'
import {
  decodePullMessage,
  decodeSwarmMessage,
  encodeLinkHandshake,
  encodePullMessage,
  encodeSwarmMessage,
  type PullMessage,
  type PullOpening,
  type SwarmMessage,
} from '../../client/wire/link-messages.ts'
import { encodeMessage, type Message, type SentMessage } from '../../client/wire/messages.ts'
import { linkNameOf } from '../../core/certificate-claims.ts'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import type { InfoHash, NodeId, SwarmId } from '../../core/metainfo.ts'
import type { TokenProver } from '../../core/token-proof/index.ts'
import { loot } from './loot.ts'

/** An attacker's end of a link between nodes: Shoal's own encoders over its own socket. */

export interface LinkDial {
  port: number
  /** Whom it names in the SNI, and in the handshake. */
  holder: NodeId
  authorities: readonly string[]
  certificate: KeyedCertificate
  member: { node: NodeId; cluster: string }
  sni?: string
}

interface LinkEnds {
  /** The attacker's. */
  role: PullStatement['role']
  member: LinkDial['member']
  acceptor: NodeId
}

export class LinkLine {
  readonly socket: TLSSocket
  /** With the number that they name. */
  readonly messages: { number: number; message: Message }[] = []
  blockBytes = 0
  error: Error | undefined
  readonly closed: Promise<void>
  readonly ready: Promise<boolean>
  readonly #ends: LinkEnds
  #remote: X509Certificate | undefined

  constructor(socket: TLSSocket, ends: LinkEnds) {
    this.#ends = ends
    this.socket = socket
    const reader = new FrameReader(
      {
        onKeepAlive: () => undefined,
        onHandshake: () => undefined,
        onMessage: (message, number) => void this.messages.push({ number, message }),
        onBlockStart: ({ length }) => {
          this.blockBytes += length
          loot.bytes += length
          return undefined
        },
        onBlockEnd: () => undefined,
      },
      { isNumbered: true },
    )
    this.socket.on('data', (chunk: Buffer) => reader.push(chunk))
    this.socket.on('error', (error) => {
      this.error = error
    })
    this.closed = once(this.socket, 'close').then(
      () => undefined,
      () => undefined,
    )
    this.ready = Promise.race([
      ends.role === 'acceptor' ||
        once(this.socket, 'secureConnect').then(
          () => true,
          () => false,
        ),
      this.closed.then(() => false),
    ])
  }

  static dial({ port, holder, certificate, authorities, sni, member }: LinkDial): LinkLine {
    const socket = connect({
      host: '127.0.0.1',
      port,
      servername: sni ?? linkNameOf(holder),
      cert: certificate.certificatePem,
      key: certificate.privateKeyPem,
      ca: [...authorities],
      checkServerIdentity: () => undefined,
    })
    return new LinkLine(socket, { role: 'dialler', member, acceptor: holder })
  }

  send(message: SentMessage, number = 0): void {
    this.sendBytes(encodeMessage(message, number))
  }

  sendBytes(bytes: Buffer): void {
    if (!this.socket.destroyed) this.socket.write(bytes)
  }

  sendHandshakes(): void {
    const { acceptor, member } = this.#ends
    const swarm = acceptor as string as InfoHash
    this.sendBytes(encodeHandshake({ swarm, peer: member.node, hasFast: true, hasExtensions: true }))
    const limits = { requestsQueuedMax: 256, blockBytesMax: 128 * 1024, listenPort: undefined }
    this.#extended(0, encodeLinkHandshake({ ...limits, version: 'attacker' }))
  }

  sendPull(message: PullMessage): void {
    this.#extended(1, encodePullMessage(message))
  }

  sendSwarm(message: SwarmMessage): void {
    this.#extended(2, encodeSwarmMessage(message))
  }

  /** Opens the swarm and asks for the first blocks, whatever it may. */
  ask(swarm: SwarmId, number = 1): void {
    this.sendSwarm({ type: 'open', number, swarm })
    for (let at = 0; at < 4; at++)
      this.send({ type: 'request', piece: 0, begin: at * 16384, length: 16384 }, number)
  }

  /** What opens the pull on this link, with this certificate and its key. */
  opening(pull: KeyedCertificate, prover: TokenProver | undefined): PullOpening {
    const statement = this.statement(pull)
    const proof: ProofMessage | undefined = prover && {
      signingInput: prover.signingInput,
      proof: prover.prove(proofBindingOf(statement)),
    }
    return {
      type: 'open',
      certificate: new X509Certificate(pull.certificatePem).raw,
      signature: sign('sha256', pullStatementBytes(statement), createPrivateKey(pull.privateKeyPem)),
      proof,
    }
  }

  statement({ certificatePem }: Pick<KeyedCertificate, 'certificatePem'>) {
    // Node tells a client its peer's certificate once only.
    this.#remote ??= this.socket.getPeerX509Certificate()!
    return statementOf({
      role: this.#ends.role,
      cluster: this.#ends.member.cluster,
      exporter: this.socket.exportKeyingMaterial(32, 'EXPORTER-shoal-link-v1', Buffer.alloc(0)),
      opener: this.socket.getX509Certificate()!,
      holder: this.#remote,
      pull: new X509Certificate(certificatePem),
    })
  }

  /** Pulls that the other side has opened. */
  get openings(): PullOpening[] {
    return this.#answers(1).flatMap((payload) => {
      const message = decodePullMessage(payload)
      return message.type === 'open' ? [message] : []
    })
  }

  /** Numbers that the other side has closed. */
  get closedNumbers(): number[] {
    return this.#answers(2).flatMap((payload) => {
      const message = decodeSwarmMessage(payload)
      return message.type === 'closed' ? [message.number] : []
    })
  }

  /** Pulls that the other side has refused. */
  get refusedPulls(): string[] {
    return this.#answers(1).flatMap((payload) => {
      const message = decodePullMessage(payload)
      return message.type === 'refused' ? [message.pull] : []
    })
  }

  /** Everything but handshakes and refusals. */
  get given(): string[] {
    return this.messages.filter(({ number }) => number !== 0).map(({ message }) => message.type)
  }

  destroy(): void {
    this.socket.destroy()
  }

  /** This was no attacker but a control: what it got was its due. */
  forget(): void {
    loot.bytes -= this.blockBytes
    this.blockBytes = 0
  }

  #answers(extension: number): Buffer[] {
    return this.messages.flatMap(({ number, message }) =>
      number === 0 && message.type === 'extended' && message.extension === extension ? [message.payload] : [],
    )
  }

  #extended(extension: number, payload: Buffer): void {
    this.send({ type: 'extended', extension, payload })
  }
}

/** Dials, does `act` once TLS is through, and goes on until the other side hangs up or `patienceMs` are over. */
export async function attackLink(
  dial: LinkDial,
  act: (line: LinkLine) => unknown,
  patienceMs = 700,
): Promise<LinkLine> {
  const line = LinkLine.dial(dial)
  if (await line.ready) await act(line)
  await Promise.race([line.closed, new Promise((resolve) => setTimeout(resolve, patienceMs))])
  line.destroy()
  await line.closed
  return line
}

/** Accepts links, as a holder that others download from. `act` is called with each, once TLS is through. */
export async function acceptLinks(
  { member, certificate, authorities }: Pick<LinkDial, 'certificate' | 'authorities' | 'member'>,
  act: (line: LinkLine) => void,
): Promise<{ port: number; close(): void }> {
  const lines: LinkLine[] = []
  const options = { cert: certificate.certificatePem, key: certificate.privateKeyPem, ca: [...authorities] }
  const server = createServer({ ...options, requestCert: true, minVersion: 'TLSv1.3' }, (socket) => {
    const line = new LinkLine(socket, { role: 'acceptor', member, acceptor: member.node })
    lines.push(line)
    act(line)
  })
  // The tracker looks whether the port is open.
  server.on('tlsClientError', () => undefined)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      server.close()
      for (const line of lines) line.destroy()
    },
  }
}
