import { encodeBencode } from '../../core/bencode.ts'
import { isSwarmId, type SwarmId } from '../../core/metainfo.ts'
import { PeerProtocolError } from '../errors.ts'
import {
  bytesOf,
  clamped,
  countOf,
  decodeDictionary,
  type ProofMessage,
  REQUESTS_QUEUED_BOUND,
  REQUESTS_QUEUED_FOREIGN,
} from './extensions.ts'
import { BLOCK_BYTES_FOREIGN, BLOCK_BYTES_MAX } from './messages.ts'

/**
 * The messages that a link between two nodes adds to BEP 3, 6 and 10. docs/protocol.md has every field, bound and state;
 * test/client/wire/protocol-vectors.json has vectors.
 */

/** Ids that this side uses for extension messages on a link. */
export const LINK_EXTENSION_IDS = { shoal_pull: 1, shoal_swarm: 2, shoal_hashes: 3 } as const
export type LinkExtension = keyof typeof LINK_EXTENSION_IDS

/** Bytes of a pull's id; the ids that the tracker makes have 32. */
const PULL_ID_BYTES_MAX = 64
/** The highest number of a swarm on a link: numbers have four bytes, and 0 is the link itself. */
const SWARM_NUMBER_MAX = 0xffffffff

/** The extension handshake of a link. */
export interface LinkHandshake {
  ids: Record<LinkExtension, number>
  /** Requests that the sender queues for each swarm. */
  requestsQueuedMax: number
  /** Largest block that the sender serves and accepts, in bytes. */
  blockBytesMax: number
  /** Where the sender accepts links (BEP 10's `p`), at the address that this connection comes from. */
  listenPort: number | undefined
}

export function encodeLinkHandshake(handshake: Omit<LinkHandshake, 'ids'> & { version: string }): Buffer {
  return encodeBencode({
    m: LINK_EXTENSION_IDS,
    p: handshake.listenPort,
    reqq: handshake.requestsQueuedMax,
    shoal_block: handshake.blockBytesMax,
    v: handshake.version,
  })
}

/** @throws PeerProtocolError */
export function decodeLinkHandshake(payload: Buffer): LinkHandshake {
  const dictionary = decodeDictionary(payload)
  const m = dictionary.get('m')
  const idOf = (name: LinkExtension): number => {
    const id = m instanceof Map ? m.get(name) : undefined
    if (typeof id !== 'number' || id < 1 || id > 255) throw new PeerProtocolError(`a link without ${name}`)
    return id
  }
  const port = dictionary.get('p')
  const isPort = typeof port === 'number' && port > 0 && port < 65536
  return {
    ids: {
      shoal_pull: idOf('shoal_pull'),
      shoal_swarm: idOf('shoal_swarm'),
      shoal_hashes: idOf('shoal_hashes'),
    },
    requestsQueuedMax: clamped(dictionary.get('reqq'), REQUESTS_QUEUED_FOREIGN, 1, REQUESTS_QUEUED_BOUND),
    blockBytesMax: clamped(
      dictionary.get('shoal_block'),
      BLOCK_BYTES_FOREIGN,
      BLOCK_BYTES_FOREIGN,
      BLOCK_BYTES_MAX,
    ),
    listenPort: isPort ? port : undefined,
  }
}

/** Opens or renews a pull on this link. */
export interface PullOpening {
  type: 'open'
  /** The pull certificate (DER). */
  certificate: Buffer
  /** By its key over this connection (client/peer/pull-statement.ts). */
  signature: Buffer
  /** Not needed to renew a pull, nor for a registry that asks for no credential. */
  proof: ProofMessage | undefined
}

/**
 * `closed`: its opener needs the pull no longer. `refused`: the other side serves nothing under it, now or any more; blobs
 * that no other pull opens are closed.
 */
export type PullMessage = PullOpening | { type: 'closed' | 'refused'; pull: string }

export function encodePullMessage(message: PullMessage): Buffer {
  if (message.type !== 'open') return encodeBencode({ [message.type]: Buffer.from(message.pull, 'latin1') })
  const { certificate, signature, proof } = message
  return encodeBencode({
    certificate,
    signature,
    proof: proof?.proof,
    signing_input: proof && Buffer.from(proof.signingInput, 'latin1'),
  })
}

/** Checks the shape only. @throws PeerProtocolError */
export function decodePullMessage(payload: Buffer): PullMessage {
  const dictionary = decodeDictionary(payload)
  for (const type of ['closed', 'refused'] as const) {
    if (!dictionary.has(type)) continue
    const pull = bytesOf(dictionary, type)
    if (pull.length === 0 || pull.length > PULL_ID_BYTES_MAX)
      throw new PeerProtocolError('a malformed id of a pull')
    return { type, pull: pull.toString('latin1') }
  }
  return {
    type: 'open',
    certificate: Buffer.from(bytesOf(dictionary, 'certificate')),
    signature: Buffer.from(bytesOf(dictionary, 'signature')),
    proof: dictionary.has('proof')
      ? {
          signingInput: bytesOf(dictionary, 'signing_input').toString('latin1'),
          proof: Buffer.from(bytesOf(dictionary, 'proof')),
        }
      : undefined,
  }
}

/**
 * `open`: the sender wants to download the swarm's blob, and calls it `number` on this link. `closed`: neither side sends
 * more about that number; the answer to an opening that is refused.
 */
export type SwarmMessage =
  | { type: 'open'; number: number; swarm: SwarmId }
  | { type: 'closed'; number: number }

export function encodeSwarmMessage(message: SwarmMessage): Buffer {
  if (message.type === 'closed') return encodeBencode({ closed: message.number })
  return encodeBencode({ number: message.number, swarm: Buffer.from(message.swarm, 'hex') })
}

/** @throws PeerProtocolError */
export function decodeSwarmMessage(payload: Buffer): SwarmMessage {
  const dictionary = decodeDictionary(payload)
  if (dictionary.has('closed')) return { type: 'closed', number: numberIn(dictionary, 'closed') }
  const swarm = bytesOf(dictionary, 'swarm').toString('hex')
  if (!isSwarmId(swarm)) throw new PeerProtocolError('a malformed id of a swarm')
  return { type: 'open', number: numberIn(dictionary, 'number'), swarm }
}

function numberIn(dictionary: ReturnType<typeof decodeDictionary>, key: string): number {
  const number = countOf(dictionary, key)
  if (number === 0 || number > SWARM_NUMBER_MAX)
    throw new PeerProtocolError('a number that no swarm can have')
  return number
}
