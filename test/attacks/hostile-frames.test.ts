import { randomBytes } from 'node:crypto'
import { expect } from 'vitest'
import { encodeHashBatch } from '../../client/wire/extensions.ts'
import { encodeHandshake } from '../../client/wire/handshake.ts'
import { encodeMessage, FRAME_BYTES_MAX } from '../../client/wire/messages.ts'
import { type AttackLine, attack, type DialOptions } from './attacker.ts'
import { attackTest } from './ledger.ts'
import { expectLogged, expectNothingGiven, expectUnharmed, useTarget } from './target.ts'

/** A member with a real pull certificate and no token, who sends what no peer should. */
const target = useTarget()

async function dial(): Promise<DialOptions> {
  const { certificate } = await target.member.pull(target.cluster, target.blob)
  return { node: target.holder, authorities: target.member.authorities, certificate, sni: target.swarm }
}

async function expectDropped(act: (line: AttackLine) => void, code = 'PEER_PROTOCOL'): Promise<void> {
  const mark = target.logged.length
  const startedAtMs = Date.now()
  const line = await attack(await dial(), act, 5000)
  expectNothingGiven(line)
  expect(Date.now() - startedAtMs).toBeLessThan(4000)
  await expectLogged(target, mark, code)
}

const frame = (lengthField: number, body: Uint8Array = Buffer.alloc(0)) => {
  const head = Buffer.alloc(4)
  head.writeUInt32BE(lengthField >>> 0)
  return Buffer.concat([head, body])
}
const extended = (extension: number, payload: Buffer) =>
  encodeMessage({ type: 'extended', extension, payload })

for (const [what, lengthField] of [
  ['2 GiB', 2 ** 31],
  ['2 GiB less one', 2 ** 31 - 1],
  ['4 GiB less one (the top bit set)', 2 ** 32 - 1],
  ['one byte more than the bound', FRAME_BYTES_MAX + 1],
] as const) {
  for (const [kind, id] of [
    ['a message', 20],
    ['a block', 7],
    ['no id yet', undefined],
  ] as const) {
    attackTest(`a frame of ${what} (${kind}) ends the connection before it is buffered`, async () => {
      const heldBefore = process.memoryUsage().arrayBuffers
      await expectDropped((line) => {
        line.sendHandshakes(target.swarm, target.member.node)
        line.send(frame(lengthField, id === undefined ? Buffer.alloc(0) : Buffer.of(id)))
      })
      expect(process.memoryUsage().arrayBuffers - heldBefore).toBeLessThan(32 * 1024 * 1024)
    })
  }
}

attackTest('another protocol instead of the handshake ends the connection', () =>
  expectDropped((line) => line.send(Buffer.from('GET / HTTP/1.1\r\nHost: shoal\r\n\r\n'.padEnd(68, ' ')))),
)

attackTest('chokes without end, each of which would cost a window of requests, end the connection', () =>
  expectDropped((line) => {
    line.sendHandshakes(target.swarm, target.member.node)
    const turn = Buffer.concat([encodeMessage({ type: 'unchoke' }), encodeMessage({ type: 'choke' })])
    line.send(Buffer.concat(Array<Buffer>(1001).fill(turn)))
  }),
)

attackTest('a handshake for another swarm ends the connection', () =>
  expectDropped((line) => {
    const swarm = 'e'.repeat(40) as typeof target.swarm
    line.send(encodeHandshake({ swarm, peer: target.member.node, hasFast: true, hasExtensions: true }))
  }),
)

for (const [what, bytes] of [
  ['a choke with a payload', frame(2, Buffer.of(0, 0))],
  ['a have without its index', frame(1, Buffer.of(4))],
  ['a have of a piece that is not there', encodeMessage({ type: 'have', piece: 0xffffffff })],
  ['a request cut short', frame(9, Buffer.of(6, 0, 0, 0, 0, 0, 0, 0, 0))],
  ['a bitfield of the wrong length', encodeMessage({ type: 'bitfield', bits: Buffer.alloc(1000) })],
  ['a bitfield with spare bits', encodeMessage({ type: 'bitfield', bits: Buffer.of(0xff) })],
  ['a block without bytes', frame(9, Buffer.of(7, 0, 0, 0, 0, 0, 0, 0, 0))],
  ['an extended message without its id', frame(1, Buffer.of(20))],
  ['a proof that is no dictionary', extended(1, Buffer.from('i1e'))],
  ['a proof that is no bencoding', extended(1, randomBytes(400))],
  ['a proof nested deeply', extended(1, Buffer.from(`${'l'.repeat(60_000)}${'e'.repeat(60_000)}`))],
  ['a hash batch that is empty', extended(2, Buffer.from('de'))],
] as const) {
  attackTest(`${what} ends the connection`, () =>
    expectDropped((line) => {
      line.sendHandshakes(target.swarm, target.member.node)
      line.send(bytes)
    }),
  )
}

attackTest('an extension handshake that is no bencoding ends the connection', () =>
  expectDropped((line) => {
    const swarm = target.swarm
    line.send(encodeHandshake({ swarm, peer: target.member.node, hasFast: true, hasExtensions: true }))
    line.send(extended(0, Buffer.from('d1:md')))
  }),
)

attackTest('a hash batch that the tracker did not sign ends the connection', () =>
  expectDropped((line) => {
    line.sendHandshakes(target.swarm, target.member.node)
    const batch = {
      swarm: target.swarm,
      epoch: 999,
      status: 'confirmed',
      firstPiece: 0,
      hashes: randomBytes(128),
      signature: randomBytes(64),
    } as const
    line.send(extended(2, encodeHashBatch(batch)))
  }),
)

attackTest('blocks that nobody asked for end the connection once they are many', () =>
  expectDropped((line) => {
    line.sendHandshakes(target.swarm, target.member.node)
    const block = frame(
      9 + 128 * 1024,
      Buffer.concat([Buffer.from([7, 0, 0, 0, 0, 0, 0, 0, 0]), Buffer.alloc(128 * 1024)]),
    )
    for (let sent = 0; sent < 9 * 1024 * 1024; sent += block.length) line.send(block)
  }),
)

for (const [what, tiny] of [
  ['keep-alives', Buffer.alloc(4)],
  ['words of interest', encodeMessage({ type: 'interested' })],
  ['announcements of one piece', encodeMessage({ type: 'have', piece: 1 })],
] as const) {
  attackTest(`a hundred thousand ${what} end the connection, hold no memory, and earn nothing`, async () => {
    const heldBefore = process.memoryUsage().rss
    await expectDropped((line) => {
      line.sendHandshakes(target.swarm, target.member.node)
      line.send(Buffer.concat(Array<Buffer>(100_000).fill(tiny)))
    })
    expect(process.memoryUsage().rss - heldBefore).toBeLessThan(100 * 1024 * 1024)
  })
}

attackTest('cancels, rejects, chokes and suggestions out of nowhere are ignored', async () => {
  const line = await attack(await dial(), (line) => {
    line.sendHandshakes(target.swarm, target.member.node)
    const block = { piece: 0xffffffff, begin: 0xffffffff, length: 0xffffffff }
    line.send(
      { type: 'cancel', ...block },
      { type: 'reject', ...block },
      { type: 'choke' },
      { type: 'unchoke' },
    )
    line.send(
      { type: 'suggest', piece: 0xffffffff },
      { type: 'allowed-fast', piece: 0xffffffff },
      frame(1, Buffer.of(200)),
    )
  })
  expectNothingGiven(line)
})

attackTest('streams of noise after the handshakes never stop the node', async () => {
  const mark = target.logged.length
  for (let round = 0; round < 20; round++) {
    const line = await attack(
      await dial(),
      (line) => {
        line.sendHandshakes(target.swarm, target.member.node)
        for (let at = 0; at < 50; at++) {
          const body = randomBytes(1 + Math.floor(Math.random() * 60))
          body[0] = [0, 1, 2, 3, 4, 5, 8, 13, 14, 15, 16, 17, 20][at % 13]!
          line.send(frame(body.length, body))
        }
      },
      100,
    )
    expect(line.blockBytes).toBe(0)
  }
  await expectLogged(target, mark, 'PEER_PROTOCOL')
})

expectUnharmed(target)
