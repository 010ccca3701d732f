import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import type { InfoHash, NodeId, SwarmId } from '../../core/metainfo.ts'
import { parseAnnounce, parseScrape } from '../../tracker/stock/announce-query.ts'
import { compactPeers, ipv6Bytes } from '../../tracker/stock/compact-peers.ts'
import {
  STOCK_PEER_MS,
  STOCK_PEERS_HANDED_OUT_MAX,
  STOCK_PEERS_PER_SWARM_MAX,
  STOCK_SWARMS_MAX,
  StockPeers,
} from '../../tracker/swarm/stock-peers.ts'

const nodeAt = (index: number) => String(index).padStart(40, '0') as NodeId
const swarmAt = (index: number) => String(index).padStart(40, 'f') as SwarmId
const peerAt = (index: number, isSeed = false) => ({
  node: nodeAt(index),
  address: '192.0.2.1',
  port: 6881,
  isSeed,
  infoHash: 'a'.repeat(40) as InfoHash,
})
const choice = (nowMs: number) => ({ asker: nodeAt(0), nowMs })

describe('the list of stock clients', () => {
  it('hands out a few, seeds first, never the asker', () => {
    const peers = new StockPeers()
    for (let node = 0; node < 10; node += 1) peers.announce(swarmAt(1), peerAt(node, node === 3), 0)
    const chosen = peers.choose(swarmAt(1), choice(1))
    expect(chosen).toHaveLength(STOCK_PEERS_HANDED_OUT_MAX)
    expect(chosen[0]!.node).toBe(nodeAt(3))
    expect(chosen.map(({ node }) => node)).not.toContain(nodeAt(0))
    expect(peers.choose(swarmAt(2), choice(1))).toEqual([])
  })

  it('forgets whoever does not announce again', () => {
    const peers = new StockPeers()
    peers.announce(swarmAt(1), peerAt(1), 0)
    peers.announce(swarmAt(1), peerAt(2), STOCK_PEER_MS / 2)
    peers.announce(swarmAt(1), peerAt(1, true), STOCK_PEER_MS / 2 + 1)
    expect(peers.count(swarmAt(1), STOCK_PEER_MS)).toEqual({ seeds: 1, leechers: 1 })
    expect(peers.count(swarmAt(1), 1.5 * STOCK_PEER_MS)).toEqual({ seeds: 1, leechers: 0 })
    expect(peers.count(swarmAt(1), 2 * STOCK_PEER_MS)).toEqual({ seeds: 0, leechers: 0 })
    peers.announce(swarmAt(1), peerAt(1), 0)
    peers.forget(nodeAt(1))
    expect(peers.count(swarmAt(1), 1)).toEqual({ seeds: 0, leechers: 0 })
  })

  it('keeps no more than its bounds, and those that announced last', () => {
    const peers = new StockPeers()
    for (let node = 0; node <= STOCK_PEERS_PER_SWARM_MAX; node += 1)
      peers.announce(swarmAt(0), peerAt(node), 0)
    expect(peers.count(swarmAt(0), 1).leechers).toBe(STOCK_PEERS_PER_SWARM_MAX)
    for (let swarm = 1; swarm <= STOCK_SWARMS_MAX; swarm += 1) peers.announce(swarmAt(swarm), peerAt(1), 0)
    expect(peers.count(swarmAt(0), 1).leechers).toBe(0)
    expect(peers.count(swarmAt(STOCK_SWARMS_MAX), 1).leechers).toBe(1)
  })
})

describe('the query of an announce', () => {
  const anyHash = fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes) => Buffer.from(bytes))
  /** As clients write it: unreserved characters as they are, everything else by its code. */
  const written = (bytes: Buffer) =>
    [...bytes]
      .map((byte) => {
        const character = String.fromCharCode(byte)
        return /[A-Za-z0-9._~-]/.test(character) ? character : `%${byte.toString(16).padStart(2, '0')}`
      })
      .join('')

  it('gives any info-hash back, whatever its bytes', () => {
    const ports = fc.integer({ min: 1, max: 65535 })
    fc.assert(
      fc.property(anyHash, ports, fc.boolean(), (hash, port, isSeed) => {
        const url = `/announce?port=${port}&left=${isSeed ? 0 : 1}&info_hash=${written(hash)}&event=stopped`
        const infoHash = hash.toString('hex')
        expect(parseAnnounce(url)).toEqual({ infoHash, port, isSeed, isStopping: true })
        expect(parseScrape(`/scrape?info_hash=${written(hash)}`)).toBe(infoHash)
      }),
    )
    expect(parseScrape('/scrape')).toBeUndefined()
  })

  it('is refused with a code when it is anything else', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(() => parseAnnounce(`/announce?${text}`)).toThrow(
          expect.objectContaining({ code: 'INVALID_INPUT' }),
        )
      }),
    )
  })
})

test('addresses are packed with their ports, each family in its own field', () => {
  const packed = compactPeers([
    { address: '192.0.2.1', port: 7071 },
    { address: '2001:db8::1', port: 258 },
  ])
  expect(packed.peers).toEqual(Buffer.from([192, 0, 2, 1, 27, 159]))
  expect(packed.peers6.toString('hex')).toBe('20010db8000000000000000000000001' + '0102')
  expect(Buffer.from(ipv6Bytes('fe80::1:2%eth0')).toString('hex')).toBe('fe800000000000000000000000010002')
  expect(Buffer.from(ipv6Bytes('::ffff:192.0.2.1')).toString('hex')).toBe('00000000000000000000ffffc0000201')
})

test('every IPv6 address is packed into its 16 bytes', () => {
  fc.assert(
    fc.property(fc.ipV6(), (address) => {
      const written = new URL(`http://[${address}]/`).hostname.slice(1, -1)
      expect(ipv6Bytes(written)).toEqual(ipv6Bytes(address))
      expect(ipv6Bytes(address)).toHaveLength(16)
    }),
  )
})
