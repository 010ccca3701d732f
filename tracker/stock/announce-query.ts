import { z } from 'zod'
import type { InfoHash } from '../../core/metainfo.ts'
import { checked } from '../api/checked-input.ts'

/** The query of an announce (BEP 3), as far as it matters here. `ip` is ignored, because clients may claim any address. */
export interface Announce {
  infoHash: InfoHash
  /** The port where the client accepts peers, over TLS. */
  port: number
  /** Whether it has the whole blob. */
  isSeed: boolean
  isStopping: boolean
}

const INFO_HASH_BYTES = 20

const infoHash = z
  .string()
  .length(INFO_HASH_BYTES)
  .transform((bytes) => Buffer.from(bytes, 'latin1').toString('hex') as InfoHash)
const decimal = z.string().regex(/^\d{1,16}$/, 'a decimal number')
const announceQuery = z.object({
  info_hash: infoHash,
  port: decimal.transform(Number).pipe(z.int().min(1).max(65535)),
  left: decimal.transform(Number),
  event: z.enum(['started', 'stopped', 'completed', 'paused', 'empty', '']).optional(),
})
const scrapeQuery = z.object({ info_hash: infoHash.optional() })

/** @param url path and query as received. @throws RefusedError INVALID_INPUT */
export function parseAnnounce(url: string): Announce {
  const query = checked(announceQuery, queryOf(url))
  return {
    infoHash: query.info_hash,
    port: query.port,
    isSeed: query.left === 0,
    isStopping: query.event === 'stopped',
  }
}

/** The torrent that a scrape (BEP 48) names, if any. @throws RefusedError INVALID_INPUT */
export function parseScrape(url: string): InfoHash | undefined {
  return checked(scrapeQuery, queryOf(url)).info_hash
}

/** Values are bytes, one character each: query parsers assume UTF-8, which an info-hash is not. The first of a name counts. */
function queryOf(url: string): Record<string, string> {
  const at = url.indexOf('?')
  const fields = at < 0 ? [] : url.slice(at + 1).split('&')
  const named = fields.map((field): [string, string] => {
    const equals = field.indexOf('=')
    return equals < 0 ? [field, ''] : [field.slice(0, equals), bytesOf(field.slice(equals + 1))]
  })
  return Object.fromEntries(named.reverse())
}

function bytesOf(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}
