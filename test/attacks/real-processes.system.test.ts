import { spawnSync } from 'node:child_process'
import { chmodSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect } from 'vitest'
import { makeKey } from '../../client/membership/node-identity.ts'
import { HANDSHAKING_MAX } from '../../client/peer/peer-listener.ts'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import { makeAuthority } from '../../core/issue-certificate.ts'
import type { Repository } from '../../core/repository.ts'
import { prepareProver } from '../../core/token-proof/index.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { signingInputOf } from '../core/signed-tokens.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import { openTunnel, readAll } from '../proxy/test-proxy.ts'
import type { TestBlob } from '../pull/test-cluster.ts'
import {
  AttackLine,
  attack,
  enrol,
  type Member,
  mint,
  pullClaimsFor,
  revoke,
  stealAuthority,
  swarmOf,
} from './attacker.ts'
import { openHalf } from './half-open.ts'
import { attackTest, controlTest } from './ledger.ts'
import { loot } from './loot.ts'
import {
  PROCESS_PARTS,
  type ProcessCluster,
  type ProcessNode,
  smallBlob,
  startProcessCluster,
} from './process-cluster.ts'
import { expectNothingGiven } from './target.ts'
import { WRONG_TOKENS, type WrongToken } from './wrong-tokens.ts'

/**
 * Every kind of attacker once more, against Debian's docker-registry, a tracker and a node as processes. After each
 * attack all three are alive, the log has its code, and the node's own count of bytes to peers has not moved.
 */
describe.skipIf(mustSkipFor(PROCESS_PARTS))('against running processes', () => {
  let cluster: ProcessCluster
  let holder: ProcessNode
  let blob: TestBlob
  let member: Member
  /** Bytes that the holder says it sent to peers, as far as they were due. */
  let dueBytes = 0

  beforeAll(async () => {
    cluster = await startProcessCluster()
    holder = await cluster.addNode('holder')
    blob = smallBlob()
    await cluster.push(blob)
    const { status, body } = await holder.ask(blob, cluster.tokenFor(REPOSITORY))
    expect([status, body.equals(blob.bytes)]).toEqual([200, true])
    member = await enrol(cluster)
  })
  afterAll(async () => {
    await member?.tracker.close()
    await cluster?.close()
  })

  const token = () => cluster.tokenFor(REPOSITORY)
  const right = (text: string): WrongToken => ({
    token: text,
    prove: (binding) => prepareProver(text, cluster.signer.publicJwk).prove(binding),
  })
  const dialWith = (certificate?: KeyedCertificate) => ({
    node: holder,
    authorities: member.authorities,
    sni: swarmOf(member, cluster, blob),
    ...(certificate === undefined ? {} : { certificate }),
  })
  const speak = (proof?: WrongToken, by: Member = member) => {
    return (line: AttackLine) => {
      line.sendHandshakes(swarmOf(member, cluster, blob), by.node)
      if (proof !== undefined)
        line.sendProof({ signingInput: signingInputOf(proof.token), proof: proof.prove(line.binding()) })
      line.ask()
    }
  }
  async function minted(text: string, validForSeconds?: number): Promise<KeyedCertificate> {
    const authority = await stealAuthority(cluster, member.cluster)
    return mint(authority, pullClaimsFor(cluster, member, blob, { token: text }), validForSeconds)
  }

  /** The processes are well, the log has the code more often than `mark` times, and by the holder's own count nobody was served. */
  async function expectUnmoved(mark: number, code?: string): Promise<void> {
    if (code !== undefined) {
      await expect.poll(() => countOf(code), { timeout: 5000 }).toBeGreaterThan(mark)
    }
    expect(cluster.registry.isRunning()).toBe(true)
    expect(cluster.trackerProcess.isRunning()).toBe(true)
    expect(await holder.isHealthy()).toBe(true)
    const sent = (await holder.progressOf(blob))!.bytesToPeers - dueBytes
    if (sent > 0) loot.bytes += sent
    expect(sent).toBe(0)
  }
  /** How often the processes have logged the code so far. */
  const countOf = (code: string) => cluster.logText().split(`"code":"${code}"`).length - 1

  async function expectPeerRefuses(
    certificate: KeyedCertificate | undefined,
    act: (line: AttackLine) => void,
    code = 'PEER_REFUSED',
  ): Promise<void> {
    const mark = countOf(code)
    expectNothingGiven(await attack(dialWith(certificate), act))
    await expectUnmoved(mark, code)
  }

  controlTest(
    'with certificate, token and proof the holder serves: the attacks fail for the right reason',
    async () => {
      const text = token()
      const { certificate } = await member.pull(cluster, blob, text)
      const line = await attack(dialWith(certificate), speak(right(text)))
      expect(line.blockBytes).toBe(4 * 16384)
      dueBytes += line.blockBytes
    },
  )

  attackTest('no certificate', () => expectPeerRefuses(undefined, speak()))

  attackTest('a self-signed certificate', async () => {
    const own = await makeAuthority({ commonName: 'shoal pull', validForSeconds: 600 })
    await expectPeerRefuses(own, speak(right(token())))
  })

  attackTest('a pull certificate of another cluster', async () => {
    const { joinToken } = await cluster.newCluster()
    const foreigner = await enrol(cluster, joinToken)
    const text = token()
    const { certificate } = await foreigner.pull(cluster, blob, text)
    await expectPeerRefuses(certificate, speak(right(text), foreigner))
    await foreigner.tracker.close()
  })

  attackTest('an expired certificate', async () => {
    const text = token()
    const certificate = await minted(text, 1)
    await new Promise((resolve) => setTimeout(resolve, 2100))
    await expectPeerRefuses(certificate, speak(right(text)))
  })

  attackTest('a node certificate', () => expectPeerRefuses(member.nodeCertificate, speak(right(token()))))

  attackTest('a serve certificate', async () =>
    expectPeerRefuses(await member.serve(9), speak(right(token()))),
  )

  attackTest('a certificate for another blob', async () => {
    const other = smallBlob()
    await cluster.push(other)
    const text = token()
    const { certificate } = await member.pull(cluster, other, text)
    await expectPeerRefuses(certificate, speak(right(text)))
  })

  attackTest('a right certificate without a proof', async () => {
    const { certificate } = await member.pull(cluster, blob, token())
    await expectPeerRefuses(certificate, speak())
  })

  for (const [what, make] of WRONG_TOKENS) {
    attackTest(`a right certificate and ${what}`, async () => {
      const wrong = await make(cluster.tokens)
      await expectPeerRefuses(await minted(wrong.token), speak(wrong))
    })
  }

  attackTest('a proof that was made for another connection', async () => {
    const text = token()
    const certificate = await minted(text)
    const first = new AttackLine(dialWith(certificate))
    expect(await first.ready).toBe(true)
    const proof = right(text).prove(first.binding())
    first.destroy()
    await expectPeerRefuses(certificate, speak({ token: text, prove: () => proof }))
  })

  attackTest('a self-signed token that went through the local proxy first', async () => {
    const own = WRONG_TOKENS.find(([what]) => what.includes('embedded as x5c'))!
    const wrong = await own[1](cluster.tokens)
    expect((await holder.ask(blob, wrong.token)).status).toBe(401)
    await expect(member.pull(cluster, blob, wrong.token)).rejects.toMatchObject({
      trackerCode: 'TOKEN_KEY_UNTRUSTED',
    })
    await expectPeerRefuses(await minted(wrong.token), speak(wrong))
  })

  attackTest('rights to another repository of the registry', async () => {
    const foreign = cluster.tokenFor('team/other')
    const mark = countOf('BLOB_NOT_IN_REPOSITORY')
    const ask = (repository: string) =>
      member.tracker.pull(
        {
          registry: cluster.registry.config.host,
          repository: repository as Repository,
          credential: { scheme: 'bearer', token: foreign },
          publicKey: makeKey().spki.toString('base64url'),
          listenPort: 9,
          blobs: [{ digest: blob.digest, bytes: blob.bytes.length, isWanted: false }],
        },
        10_000,
      )
    await expect(ask('team/other')).rejects.toMatchObject({ trackerCode: 'BLOB_NOT_IN_REPOSITORY' })
    await expect(ask(REPOSITORY)).rejects.toMatchObject({ trackerCode: 'TOKEN_SCOPE' })
    await expectUnmoved(mark, 'BLOB_NOT_IN_REPOSITORY')
  })

  for (const [what, text] of [
    ['no credentials', undefined],
    ['a token that nobody signed', 'made.up.token'],
    ['a token for another repository', 'team/other'],
  ] as const) {
    attackTest(`a local client with ${what} and the blob on the node's disk`, async () => {
      const { status, body } = await holder.ask(blob, text === 'team/other' ? cluster.tokenFor(text) : text)
      if (blob.bytes.includes(body) && body.length > 0) loot.bytes += body.length
      expect(status).toBe(401)
      await expectUnmoved(0)
    })
  }

  attackTest('a frame of 2 GiB', async () => {
    const { certificate } = await member.pull(cluster, blob, token())
    await expectPeerRefuses(
      certificate,
      (line) => {
        line.sendHandshakes(swarmOf(member, cluster, blob), member.node)
        line.send(Buffer.from([0x80, 0, 0, 0, 20]))
      },
      'PEER_PROTOCOL',
    )
  })

  attackTest('CONNECT to the metadata service and to the node’s own listeners', async () => {
    const mark = countOf('CONNECT_DENIED')
    for (const target of [
      '169.254.169.254:80',
      `127.0.0.1:${holder.adminPort}`,
      `[::1]:${holder.adminPort}`,
    ]) {
      const { status, socket } = await openTunnel(holder.proxyPort, target)
      if (status === 200) loot.bytes += (await readAll(socket)).length
      expect([target, status]).toEqual([target, 403])
    }
    await expectUnmoved(mark, 'CONNECT_DENIED')
  })

  if (process.getuid?.() === 0) {
    const readAs = (userId: number, path: string) => {
      const user = ['--reuid', `${userId}`, '--regid', `${userId}`, '--clear-groups']
      return spawnSync('setpriv', [...user, 'cat', path]).stdout.length
    }

    attackTest('another user of the machine, at the files of node and tracker', async () => {
      for (const folder of [holder.dataDir, join(cluster.folder, 'tracker')]) {
        // The worst that an operator does: the folders above are open to all.
        for (const path of [cluster.folder, folder]) chmodSync(path, 0o755)
        const found = readdirSync(folder, { recursive: true, encoding: 'utf8' })
        // Made to be read: the certificate that clients of the proxy must trust.
        const secret = found.filter((name) => name !== 'proxy-ca.crt')
        for (const name of secret) loot.bytes += readAs(65_534, join(folder, name))
        const own = secret.map((name) => readAs(0, join(folder, name)))
        expect(own.filter((bytes) => bytes > 0).length).toBeGreaterThan(1)
      }
      const shown = readFileSync(join(holder.dataDir, 'proxy-ca.crt'), 'utf8')
      expect(shown).not.toContain('PRIVATE KEY')
      await expectUnmoved(0)
    })
  }

  attackTest('a node that is revoked while it is connected', async () => {
    const mark = countOf('PEER_REFUSED')
    const text = token()
    const { certificate } = await member.pull(cluster, blob, text)
    const line = new AttackLine(dialWith(certificate))
    expect(await line.ready).toBe(true)
    line.sendHandshakes(swarmOf(member, cluster, blob), member.node)
    line.sendProof({ signingInput: signingInputOf(text), proof: right(text).prove(line.binding()) })
    await expect
      .poll(() => line.messages.some(({ type }) => type === 'unchoke'), { timeout: 5000 })
      .toBe(true)
    await revoke(cluster, member)
    await line.closed
    await expectUnmoved(mark, 'PEER_REFUSED')
    await expectPeerRefuses(certificate, speak(right(text)))
    await expect(member.pull(cluster, blob, text)).rejects.toMatchObject({ trackerCode: 'NODE_REVOKED' })
  })

  // The last: after so many refusals in a minute the log only counts further ones.
  attackTest('three thousand half-open connections', async () => {
    const mark = countOf('PEER_REFUSED')
    const before = rssBytesOf(holder.process.pid)
    const held = await openHalf(holder.client.peerAddress, 3000)
    await expect.poll(() => held.count, { timeout: 5000 }).toBeLessThanOrEqual(HANDSHAKING_MAX)
    const late = await cluster.addNode('late')
    const { body } = await late.ask(blob, token())
    expect(body.equals(blob.bytes)).toBe(true)
    expect((await late.progressOf(blob))!.bytesFromPeers).toBe(blob.bytes.length)
    dueBytes += blob.bytes.length
    expect(rssBytesOf(holder.process.pid) - before).toBeLessThan(100 * 1024 * 1024)
    held.close()
    await expectUnmoved(mark, 'PEER_REFUSED')
  })
})

function rssBytesOf(pid: number): number {
  const { stdout } = spawnSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' })
  return Number(stdout) * 1024
}
