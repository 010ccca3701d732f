import type { PieceIndex, PieceLayout } from '../../core/metainfo.ts'
import { PeerProtocolError } from '../errors.ts'
import type { Message } from '../wire/messages.ts'
import type { LinkHost } from './link-host.ts'

/**
 * What a holder says to a downloader about one blob (BEP 3, BEP 6), on either kind of connection.
 * @returns false for a message that changed nothing or costs this side much; undefined for any other message
 */
export function takeFromHolder<Link>(
  host: LinkHost<Link>,
  link: Link,
  message: Message,
): boolean | undefined {
  switch (message.type) {
    case 'have':
      return host.onOffer(link, [checkedPiece(message.piece, host.layout)])
    case 'have-all':
      host.onOffer(link, 'all')
      return false
    case 'bitfield':
      host.onOfferBits(link, message.bits)
      return false
    case 'choke':
      host.onChoke(link, true)
      return false
    case 'unchoke':
      return host.onChoke(link, false)
    case 'reject':
      return host.onReject(link, message)
    default:
      return undefined
  }
}

/** @throws PeerProtocolError for a piece that the torrent does not have */
export function checkedPiece(piece: number, { pieceCount }: PieceLayout): PieceIndex {
  if (piece >= pieceCount) throw new PeerProtocolError(`no piece ${piece} in this torrent`)
  return piece as PieceIndex
}
