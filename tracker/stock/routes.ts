import type { TLSSocket } from 'node:tls'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { digestHex } from '../../core/digest.ts'
import { torrentFile } from '../../core/torrent.ts'
import { swarmIdSchema } from '../../core/tracker-api.ts'
import { checked } from '../api/checked-input.ts'
import { bencodedErrors } from '../api/error-answers.ts'
import type { TrackerParts } from '../parts.ts'
import { announce, scrape } from './announce.ts'
import { parseAnnounce, parseScrape } from './announce-query.ts'
import { type StockCaller, stockCallerOf } from './stock-caller.ts'
import { stockTorrentOf } from './stock-torrent.ts'

type SwarmRoute = { Params: { swarm: string } }

/**
 * The routes of stock BitTorrent clients (docs/stock-clients.md). A pull certificate or a registry token opens only
 * these.
 */
export function stockRoutes(app: FastifyInstance, parts: TrackerParts): void {
  const callerOf = (request: FastifyRequest<SwarmRoute>): Promise<StockCaller> =>
    stockCallerOf(
      parts,
      { socket: request.raw.socket as TLSSocket, authorization: request.headers.authorization },
      checked(swarmIdSchema, request.params.swarm),
    )
  const config = { isOpen: true }
  const bencoded = { config, errorHandler: bencodedErrors(parts.log, parts.metrics) }
  const answer = (reply: FastifyReply, body: Buffer) => reply.type('text/plain').send(body)

  app.get<SwarmRoute>('/v1/swarms/:swarm/torrent', { config }, async (request, reply) => {
    const torrent = await stockTorrentOf(parts, await callerOf(request))
    const { swarm } = request.params
    const file = torrentFile(torrent, `https://${request.headers.host}/v1/swarms/${swarm}/announce`)
    const name = `${digestHex(torrent.digest)}.torrent`
    return reply
      .type('application/x-bittorrent')
      .header('content-disposition', `attachment; filename="${name}"`)
      .send(file)
  })

  app.get<SwarmRoute>('/v1/swarms/:swarm/announce', bencoded, async (request, reply) => {
    const caller = await callerOf(request)
    return answer(reply, await announce(parts, caller, parseAnnounce(request.raw.url ?? '')))
  })

  app.get<SwarmRoute>('/v1/swarms/:swarm/scrape', bencoded, async (request, reply) => {
    const caller = await callerOf(request)
    return answer(reply, await scrape(parts, caller, parseScrape(request.raw.url ?? '')))
  })
}
