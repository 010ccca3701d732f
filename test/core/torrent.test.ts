import { createHash, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type BencodedDictionary, decodeBencode, encodeBencode } from '../../core/bencode.ts'
import { digestFromHex } from '../../core/digest.ts'
import { BLOB_BYTES_MAX, pieceLayout } from '../../core/metainfo.ts'
import { infoHashOf, PIECE_SHA1_BYTES, torrentFile } from '../../core/torrent.ts'

const HEX = 'ab'.repeat(32)
const PEM = '-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n'
const URL = 'https://tracker.example:7443/announce'

function torrentOf(bytes: number, piecesSha1 = randomBytes(pieceLayout(bytes).pieceCount * 20)) {
  return { digest: digestFromHex(HEX), bytes, piecesSha1, authorityPem: PEM }
}

test('the info dictionary is one file, named by its digest, private, bound to the authority', () => {
  const torrent = torrentOf(1_000_000)
  const file = decodeBencode(torrentFile(torrent, URL)) as BencodedDictionary
  expect(String(file.get('announce'))).toBe(URL)
  const info = file.get('info') as BencodedDictionary
  expect([...info.keys()]).toEqual(['length', 'name', 'piece length', 'pieces', 'private', 'ssl-cert'])
  expect(info.get('length')).toBe(1_000_000)
  expect(String(info.get('name'))).toBe(HEX)
  expect(info.get('piece length')).toBe(256 * 1024)
  expect(info.get('pieces')).toEqual(torrent.piecesSha1)
  expect(info.get('private')).toBe(1)
  expect(String(info.get('ssl-cert'))).toBe(PEM)
})

test('the info-hash is the SHA-1 of the dictionary in the file, wherever the tracker is', () => {
  const blobs = fc.integer({ min: 1, max: 200_000_000 })
  fc.assert(
    fc.property(blobs, fc.string(), (bytes, url) => {
      const torrent = torrentOf(bytes)
      const info = (decodeBencode(torrentFile(torrent, url)) as BencodedDictionary).get('info')!
      const hash = createHash('sha1').update(encodeBencode(info)).digest('hex')
      expect(infoHashOf(torrent)).toBe(hash)
    }),
    { numRuns: 30 },
  )
})

test('another authority, or one other piece, is another torrent', () => {
  const torrent = torrentOf(1_000_000)
  const altered = Buffer.from(torrent.piecesSha1)
  altered[3]! ^= 1
  const hashes = [
    torrent,
    { ...torrent, authorityPem: `${PEM} ` },
    { ...torrent, piecesSha1: altered },
    { ...torrent, digest: digestFromHex('cd'.repeat(32)) },
  ].map(infoHashOf)
  expect(new Set(hashes).size).toBe(hashes.length)
})

test('a torrent needs exactly one hash for each piece', () => {
  const pieces = fc.integer({ min: 0, max: 40 })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5_000_000 }), pieces, (bytes, count) => {
      const make = () => infoHashOf(torrentOf(bytes, Buffer.alloc(count * PIECE_SHA1_BYTES)))
      if (count === pieceLayout(bytes).pieceCount) expect(make()).toMatch(/^[0-9a-f]{40}$/)
      else expect(make).toThrow(expect.objectContaining({ code: 'INVALID_INPUT' }))
    }),
  )
  expect(() => infoHashOf(torrentOf(1000, Buffer.alloc(19)))).toThrow()
  expect(() => infoHashOf({ ...torrentOf(1000), bytes: BLOB_BYTES_MAX + 1 })).toThrow()
})

test('dictionaries with binary keys come back as they were', () => {
  const keys = fc.uint8Array({ minLength: 1, maxLength: 20 }).map((it) => Buffer.from(it).toString('latin1'))
  fc.assert(
    fc.property(fc.dictionary(keys, fc.maxSafeInteger()), (entries) => {
      const map = new Map(Object.entries(entries))
      const decoded = decodeBencode(encodeBencode(map)) as BencodedDictionary
      expect(new Map(decoded)).toEqual(map)
    }),
  )
})
