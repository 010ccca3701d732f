import { createPrivateKey, sign, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { createServer, type TLSSocket } from 'node:tls'
import pino from 'pino'
import { afterEach, expect } from 'vitest'
import type { BlobRequest } from '../../client/index.ts'
import { encodeProof, encodeShownCertificate } from '../../client/wire/extensions.ts'
import { encodeHandshake } from '../../client/wire/handshake.ts'
import { encodeMessage } from '../../client/wire/messages.ts'
import { openRegistries, type RegistryClient } from '../../core/registry-client.ts'
import type { RegistryHost } from '../../core/repository.ts'
import { noteDefects } from '../core/noted-defects.ts'
import { encoded, pullClaims } from '../core/signed-tokens.ts'
import { BLOB, REPOSITORY } from '../core/test-registry.ts'
import { FakeClient } from '../proxy/fake-client.ts'
import { P2P_MIN_BYTES, readAll, startTestProxy, type TestProxy } from '../proxy/test-proxy.ts'
import { progressOf, pull, randomBlob } from '../pull/test-cluster.ts'
import { startWorld, type World } from '../tracker/test-tracker.ts'
import {
  attack,
  type DialOptions,
  extensionHandshake,
  fingerprint,
  mint,
  proverFor,
  pullClaimsFor,
  stealAuthority,
  swarmOf,
} from './attacker.ts'
import { attackTest } from './ledger.ts'
import { expectLogged, expectNothingGiven, expectUnharmed, useTarget } from './target.ts'

/**
 * What no code expected costs the connection, request or job in which it came, and never the process: messages made to
 * find such code, and errors thrown where no message reaches, through what a part is given (its registries, its client).
 * All parts run in this process, where an error that nobody catches fails the test.
 */
const target = useTarget()
const open: { close(): Promise<unknown> }[] = []
afterEach(async () => {
  for (const part of open.splice(0)) await part.close()
})

const brackets = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`
const objects = (depth: number) => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`
/** Signing inputs that are deep where JSON may be deep. */
const MONSTERS: [string, string][] = [
  ['a jwk nested 5,000 levels', `{"alg":"ES256","jwk":{"kty":"RSA","e":"AQAB","n":${brackets(5000)}}}`],
  ['a jwk nested 9,000 levels', `{"alg":"ES256","jwk":{"kty":"RSA","e":"AQAB","n":${brackets(9000)}}}`],
  ['objects nested 5,000 levels', `{"alg":"ES256","jwk":{"kty":"EC","crv":${objects(4000)}}}`],
  ['an unknown parameter nested 9,000 levels', `{"alg":"ES256","other":${brackets(9000)}}`],
  ['a header of nothing but brackets', brackets(12_000)],
]
const signingInputs = MONSTERS.map(([what, header]): [string, string] => [
  what,
  `${encoded(header)}.${encoded(pullClaims(REPOSITORY))}`,
])

async function expectRefusedProof(dial: DialOptions, signingInput: string): Promise<void> {
  const mark = target.logged.length
  const line = await attack(dial, (line) => {
    line.sendHandshakes(target.swarm, target.member.node)
    line.sendProof({ signingInput, proof: Buffer.alloc(99, 1) })
    line.ask()
  })
  expectNothingGiven(line)
  await expectLogged(target, mark, 'PEER_REFUSED')
  expect(target.codesSince(mark)).not.toContain('DEFECT')
}

const dialWith = (certificate: DialOptions['certificate']): DialOptions => ({
  node: target.holder,
  authorities: target.member.authorities,
  sni: target.swarm,
  ...(certificate && { certificate }),
})

for (const [what, signingInput] of signingInputs) {
  attackTest(`a member with an honest grant shows ${what}: its connection ends`, async () => {
    const { certificate } = await target.member.pull(target.cluster, target.blob)
    await expectRefusedProof(dialWith(certificate), signingInput)
  })

  attackTest(`${what}, under a certificate that is bound to it: its connection ends`, async () => {
    const { cluster, member, blob } = target
    const claims = pullClaimsFor(cluster, member, blob, { token: `${signingInput}.AA` })
    await expectRefusedProof(
      dialWith(mint(await stealAuthority(cluster, member.cluster), claims)),
      signingInput,
    )
  })
}

attackTest(
  'a member who is dialled shows them all: nobody who dials it ends, and each has its blob',
  async () => {
    const { cluster, member } = target
    const blob = cluster.registry.add(randomBlob(3 * 256 * 1024).bytes)
    const swarm = swarmOf(member, cluster, blob)
    const { certificate } = await member.pull(cluster, blob)
    let dialled = 0
    const answer = (socket: TLSSocket) => {
      socket.on('error', () => undefined)
      const own = new X509Certificate(certificate.certificatePem)
      const shown = Buffer.concat([
        Buffer.from('shoal-shown-certificate-v1\0'),
        socket.exportKeyingMaterial(32, 'EXPORTER-shoal-token-proof-v1', Buffer.alloc(0)),
        fingerprint(own),
        fingerprint(socket.getPeerX509Certificate()!),
      ])
      const signature = sign('sha256', shown, createPrivateKey(certificate.privateKeyPem))
      const [, signingInput] = signingInputs[dialled++ % signingInputs.length]!
      const extended = (extension: number, payload: Buffer) =>
        encodeMessage({ type: 'extended', extension, payload })
      socket.write(
        Buffer.concat([
          encodeHandshake({ swarm, peer: member.node, hasFast: true, hasExtensions: true }),
          extensionHandshake(),
          extended(3, encodeShownCertificate({ certificate: own.raw, signature })),
          extended(1, encodeProof({ signingInput, proof: Buffer.alloc(99, 1) })),
        ]),
      )
    }
    const serving = await member.serve(9)
    const tls = { cert: serving.certificatePem, key: serving.privateKeyPem, ca: member.authorities }
    const server = createServer({
      ...tls,
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.3',
    })
    server.on('secureConnection', answer).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    await member.serve(port, [swarm])
    const mark = target.logged.length
    for (let victim = 0; victim < 2; victim++) {
      const node = await cluster.addNode({ name: `dialler${victim}` })
      expect((await pull(node, cluster.request(blob))).equals(blob.bytes)).toBe(true)
      await node.stop()
    }
    server.close()
    expect(dialled).toBeGreaterThan(0)
    await expectLogged(target, mark, 'PEER_REFUSED')
    expect(target.codesSince(mark)).not.toContain('DEFECT')
  },
)

/** Registries that fail as no code expects, once for each time that they are armed. */
class FaultyRegistries extends Map<RegistryHost, RegistryClient> {
  faults = 0

  override get(host: RegistryHost): RegistryClient | undefined {
    if (this.faults > 0) {
      this.faults -= 1
      throw new TypeError('injected')
    }
    return super.get(host)
  }
}

attackTest('an unexpected error in the middle of a proof costs that connection, and is told', async () => {
  const { cluster, member, blob, swarm } = target
  const registries = new FaultyRegistries(openRegistries([cluster.registry.config]))
  const { defects, places } = noteDefects()
  const faulty = await cluster.addNode({ name: 'faulty', client: { registries, defects } })
  await pull(faulty, cluster.request(blob))
  const token = cluster.signer.sign(pullClaims(REPOSITORY), { jwk: cluster.signer.publicJwk })
  const { certificate } = await member.pull(cluster, blob, token)
  const prover = proverFor(cluster, token)
  const line = await attack({ ...dialWith(certificate), node: faulty }, async (line) => {
    line.sendHandshakes(swarm, member.node)
    await expect.poll(() => line.handshakes.length).toBe(1)
    registries.faults = 1
    line.sendProof({ signingInput: prover.signingInput, proof: prover.prove(line.binding()) })
    line.ask()
  })
  expectNothingGiven(line)
  expect(places).toEqual(['peer_link'])
  // Only it: whoever comes next is served by the same node.
  const again = await attack({ ...dialWith(certificate), node: faulty }, (line) => {
    line.sendHandshakes(swarm, member.node)
    line.sendProof({ signingInput: prover.signingInput, proof: prover.prove(line.binding()) })
    line.ask()
  })
  expect(again.blockBytes).toBeGreaterThan(0)
  again.forget()
  await faulty.stop()
  for (const registry of registries.values()) await registry.close()
})

attackTest('an unexpected error while a swarm ends its work costs that blob, not the node', async () => {
  const { cluster } = target
  const { defects, places } = noteDefects()
  let faults = 1
  const logTo = {
    write: (line: string) => {
      if (line.includes('blob complete') && faults-- > 0) throw new TypeError('injected')
    },
  }
  const log = pino({ level: 'info' }, logTo)
  const node = await cluster.addNode({ name: 'failing', client: { log, defects } })
  const [first, second] = [1, 2].map(() => cluster.registry.add(randomBlob(300_000).bytes))
  expect((await pull(node, cluster.request(first!))).equals(first!.bytes)).toBe(true)
  expect((await pull(node, cluster.request(second!))).equals(second!.bytes)).toBe(true)
  expect(places).toEqual(['swarm'])
  expect(progressOf(node, second!).state).toBe('complete')
  await node.stop()
})

/** Fails in what it promises never to fail in. */
class FaultyClient extends FakeClient {
  faults = 1

  override sawAccepted(request: BlobRequest): void {
    if (this.faults-- > 0) throw new TypeError('injected')
    super.sawAccepted(request)
  }
}

async function proxyWith(changes: Parameters<typeof startTestProxy>[1]): Promise<TestProxy> {
  const door = (request: IncomingMessage, response: ServerResponse) =>
    void (request.method === 'HEAD'
      ? response.writeHead(200, { 'content-length': P2P_MIN_BYTES }).end()
      : response.end('from the registry'))
  const proxy = await startTestProxy(door, changes)
  open.push(proxy)
  return proxy
}

attackTest('an unexpected error in a request through the proxy costs that request', async () => {
  const { defects, places } = noteDefects()
  const client = new FaultyClient()
  client.hold(BLOB, Buffer.alloc(P2P_MIN_BYTES, 's'))
  const proxy = await proxyWith({ client, defects })
  const ask = () => proxy.ask(`/v2/${REPOSITORY}/blobs/${BLOB}`, { headers: { authorization: 'Bearer x' } })
  await expect(ask()).rejects.toMatchObject({ code: 'UND_ERR_SOCKET' })
  expect(places).toEqual(['proxy_request'])
  expect(await (await ask()).body.text()).toBe('s'.repeat(P2P_MIN_BYTES))
})

attackTest(
  'an unexpected error while a connection is opened through the proxy costs that connection',
  async () => {
    const { defects, places } = noteDefects()
    let registries!: FaultyRegistries
    const proxy = await proxyWith((registry) => {
      registries = new FaultyRegistries(registry.clients)
      return { registries, defects }
    })
    registries.faults = 1
    const socket = connect(proxy.port, '127.0.0.1')
    socket.write(`CONNECT ${proxy.registry.host} HTTP/1.1\r\n\r\n`)
    expect(await readAll(socket)).toBe('')
    expect(places).toEqual(['proxy_connect'])
    expect(await (await proxy.ask('/v2/')).body.text()).toBe('from the registry')
  },
)

attackTest('an unexpected error in a handler of the tracker costs that request', async () => {
  let faults = 1
  const world: World = await startWorld({
    leasePolicy: () => {
      if (faults-- > 0) throw new TypeError('injected')
      return undefined
    },
  })
  open.push(world)
  const node = await world.joined(await world.makeCluster())
  const failed = await node.pull()
  expect([failed.status, failed.body.error]).toEqual([500, { code: 'INTERNAL', message: 'internal error' }])
  expect((await node.pull()).status).toBe(200)
  const { body } = await world.admin().request('GET', '/metrics')
  expect(body).toContain('shoal_defects_total{where="tracker_request"} 1')
  expect(world.logged()).toContain('"code":"DEFECT"')
})

expectUnharmed(target)
