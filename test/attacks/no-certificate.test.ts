import { once } from 'node:events'
import { connect as connectPlain } from 'node:net'
import { expect } from 'vitest'
import { encodeHandshake } from '../../client/wire/handshake.ts'
import { attack, type DialOptions } from './attacker.ts'
import { attackTest } from './ledger.ts'
import { expectLogged, expectNothingGiven, expectUnharmed, useTarget } from './target.ts'

/** A stranger on the network: no certificate, or not even TLS. */
const target = useTarget()

const asStranger = (changes: Partial<DialOptions> = {}): DialOptions => ({
  node: target.holder,
  authorities: target.member.authorities,
  sni: target.swarm,
  ...changes,
})
const speak = (line: Parameters<Parameters<typeof attack>[1]>[0]) => {
  line.sendHandshakes(target.swarm, target.member.node)
  line.ask()
}

attackTest('without a certificate the connection ends before a byte of the protocol', async () => {
  const mark = target.logged.length
  const line = await attack(asStranger(), speak)
  expectNothingGiven(line)
  expect(line.receivedBytes).toBe(0)
  await expectLogged(target, mark, 'PEER_REFUSED')
})

attackTest('TLS 1.2 is refused, with and without a real certificate', async () => {
  const { certificate } = await target.member.pull(target.cluster, target.blob)
  for (const options of [asStranger(), asStranger({ certificate })]) {
    const mark = target.logged.length
    const line = await attack({ ...options, tls: { maxVersion: 'TLSv1.2' } }, speak)
    expect(await line.ready).toBe(false)
    expect(line.receivedBytes).toBe(0)
    await expectLogged(target, mark, 'PEER_REFUSED')
  }
})

for (const [what, sni] of [
  ['no name', undefined],
  ['a host name', 'localhost'],
  ['a swarm that is not there', 'f'.repeat(40)],
  ['a name that is no swarm id', 'F'.repeat(40)],
] as const) {
  attackTest(`a real certificate with ${what} as SNI gets no handshake`, async () => {
    const { certificate } = await target.member.pull(target.cluster, target.blob)
    const mark = target.logged.length
    const { sni: _, ...dial } = asStranger({ certificate })
    const line = await attack(
      sni === undefined ? { ...dial, tls: { servername: '' } } : { ...dial, sni },
      speak,
    )
    expectNothingGiven(line)
    expect(line.receivedBytes).toBe(0)
    await expectLogged(target, mark, 'PEER_REFUSED')
  })
}

attackTest('the peer protocol without TLS gets nothing but a TLS alert', async () => {
  const { host, port } = target.holder.client.peerAddress
  const socket = connectPlain(port, host)
  const mark = target.logged.length
  const received: Buffer[] = []
  socket.on('data', (chunk) => received.push(chunk))
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  socket.write(
    encodeHandshake({ swarm: target.swarm, peer: target.member.node, hasFast: true, hasExtensions: true }),
  )
  await once(socket, 'close')
  expect(Buffer.concat(received).length).toBeLessThanOrEqual(7)
  await expectLogged(target, mark, 'PEER_REFUSED')
})

attackTest('a TLS session is never resumed: an expired certificate would pass in one', async () => {
  const { certificate } = await target.member.pull(target.cluster, target.blob)
  const sessions: Buffer[] = []
  await attack(asStranger({ certificate }), (line) => {
    line.socket.on('session', (session) => sessions.push(session))
    line.sendHandshakes(target.swarm, target.member.node)
  })
  expect(sessions.length).toBeGreaterThan(0)
  for (const session of sessions) {
    const mark = target.logged.length
    let isReused = false
    const line = await attack(asStranger({ certificate, tls: { session } }), (line) => {
      isReused = line.socket.isSessionReused()
      speak(line)
    })
    expect(isReused && line.receivedBytes > 0).toBe(false)
    expect(line.blockBytes).toBe(0)
    await expectLogged(target, mark, 'PEER_REFUSED')
  }
})

expectUnharmed(target)
