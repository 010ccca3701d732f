import { type InfoHash, isInfoHash, isNodeId, type NodeId } from '../../core/metainfo.ts'
import { PeerProtocolError } from '../errors.ts'

/** The 68 bytes that open a connection (BEP 3): length, protocol name, reserved bits, info-hash, peer id. */
export interface Handshake {
  /** The swarm's id, or its alias with stock clients. */
  swarm: InfoHash
  /** 20 bytes as 40 hex digits; between Shoal peers the node id. */
  peer: NodeId
  /** BEP 6: have all, have none, reject. */
  hasFast: boolean
  /** BEP 10. */
  hasExtensions: boolean
}

export const HANDSHAKE_BYTES = 68
const PROTOCOL = Buffer.from('\x13BitTorrent protocol', 'latin1')
const RESERVED_AT = PROTOCOL.length
const SWARM_AT = RESERVED_AT + 8
const PEER_AT = SWARM_AT + 20

export function encodeHandshake(handshake: Handshake): Buffer {
  const bytes = Buffer.alloc(HANDSHAKE_BYTES)
  PROTOCOL.copy(bytes)
  if (handshake.hasExtensions) bytes[RESERVED_AT + 5] = 0x10
  if (handshake.hasFast) bytes[RESERVED_AT + 7] = 0x04
  bytes.write(handshake.swarm, SWARM_AT, 'hex')
  bytes.write(handshake.peer, PEER_AT, 'hex')
  return bytes
}

/** @throws PeerProtocolError when `bytes` (68 of them) is no BitTorrent handshake */
export function decodeHandshake(bytes: Buffer): Handshake {
  if (bytes.length !== HANDSHAKE_BYTES || !bytes.subarray(0, PROTOCOL.length).equals(PROTOCOL)) {
    throw new PeerProtocolError('not a BitTorrent handshake')
  }
  const swarm = bytes.toString('hex', SWARM_AT, PEER_AT)
  const peer = bytes.toString('hex', PEER_AT)
  if (!isInfoHash(swarm) || !isNodeId(peer)) throw new PeerProtocolError('not a BitTorrent handshake')
  return {
    swarm,
    peer,
    hasExtensions: (bytes[RESERVED_AT + 5]! & 0x10) !== 0,
    hasFast: (bytes[RESERVED_AT + 7]! & 0x04) !== 0,
  }
}
