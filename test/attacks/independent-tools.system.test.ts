import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect } from 'vitest'
import { makeAuthority } from '../../core/issue-certificate.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import { openTunnel } from '../proxy/test-proxy.ts'
import type { TestBlob } from '../pull/test-cluster.ts'
import { enrol, type Member, swarmOf } from './attacker.ts'
import { attackTest } from './ledger.ts'
import { loot } from './loot.ts'
import {
  PROCESS_PARTS,
  type ProcessCluster,
  type ProcessNode,
  smallBlob,
  startProcessCluster,
} from './process-cluster.ts'

/** What is said of TLS, by tools that nobody here wrote: nmap's `ssl-enum-ciphers`, and OpenSSL's command line. */
const PATIENCE_MS = 120_000
/** Suites with forward secrecy and authenticated encryption (RFC 9325 §4.2), as nmap names them. */
const MODERN = /^TLS_(AKE|ECDHE_ECDSA|ECDHE_RSA)_WITH_(AES_(128|256)_GCM|CHACHA20_POLY1305)_SHA(256|384)$/

describe.skipIf(mustSkipFor([...PROCESS_PARTS, 'nmap', 'openssl']))('independent tools', () => {
  let cluster: ProcessCluster
  let holder: ProcessNode
  let blob: TestBlob
  let member: Member
  let relay: Server

  beforeAll(async () => {
    cluster = await startProcessCluster()
    holder = await cluster.addNode('holder')
    blob = smallBlob()
    await cluster.push(blob)
    expect((await holder.ask(blob, cluster.tokenFor(REPOSITORY))).status).toBe(200)
    member = await enrol(cluster)
    // For tools that cannot say CONNECT: every connection to it is one to the registry through the node's proxy.
    relay = createServer(async (socket) => {
      socket.on('error', () => undefined)
      const tunnel = await openTunnel(holder.proxyPort, cluster.registry.config.host)
      tunnel.socket.on('error', () => undefined)
      socket.pipe(tunnel.socket).pipe(socket)
    }).listen(0, '127.0.0.1')
    await once(relay, 'listening')
  })
  afterAll(async () => {
    relay?.close()
    await member?.tracker.close()
    await cluster?.close()
  })

  const swarm = () => swarmOf(member, cluster, blob)
  const file = (name: string, content: string) => {
    writeFileSync(join(cluster.folder, name), content, { mode: 0o600 })
    return join(cluster.folder, name)
  }
  async function expectAlive(): Promise<void> {
    expect(await holder.isHealthy()).toBe(true)
    expect(cluster.trackerProcess.isRunning()).toBe(true)
    expect((await holder.progressOf(blob))!.bytesToPeers).toBe(0)
  }

  attackTest('nmap finds nothing but TLS 1.3 between peers', async () => {
    const found = await enumerate(holder.client.peerAddress.port, swarm())
    expect([...found.keys()]).toEqual(['TLSv1.3'])
    expect(found.get('TLSv1.3')!.filter((suite) => !MODERN.test(suite))).toEqual([])
    await expectAlive()
  })

  for (const where of ['tracker', 'proxy'] as const) {
    attackTest(`nmap finds TLS 1.2 and 1.3 with modern suites at the ${where}`, async () => {
      const port = where === 'tracker' ? cluster.trackerPort : (relay.address() as AddressInfo).port
      const found = await enumerate(port, 'localhost')
      expect([...found.keys()].sort()).toEqual(['TLSv1.2', 'TLSv1.3'])
      for (const suites of found.values()) expect(suites.filter((suite) => !MODERN.test(suite))).toEqual([])
      await expectAlive()
    })
  }

  for (const [what, makeArguments, says] of [
    ['without a certificate', () => [], /alert certificate required|certificate required/],
    ['with TLS 1.2', () => ['-tls1_2'], /alert protocol version|alert handshake failure|wrong version/],
    [
      'with a certificate of its own',
      async () => {
        const own = await makeAuthority({ commonName: 'shoal pull', validForSeconds: 600 })
        return ['-cert', file('own.crt', own.certificatePem), '-key', file('own.key', own.privateKeyPem)]
      },
      /alert|error/,
    ],
  ] as const) {
    attackTest(`openssl s_client ${what} gets nothing from a peer`, async () => {
      const before = refusals()
      const { port } = holder.client.peerAddress
      const target = ['-connect', `127.0.0.1:${port}`, '-servername', swarm(), '-quiet']
      // What the peer protocol begins with; the answer, if there is one, comes on standard output.
      const { stdout, stderr } = await run('openssl', ['s_client', ...target, ...(await makeArguments())], {
        input: `\x13BitTorrent protocol${'\0'.repeat(48)}`,
        patienceMs: 5_000,
      })
      loot.bytes += stdout.length
      expect(stderr).toMatch(says)
      await expect.poll(refusals, { timeout: 5000 }).toBeGreaterThan(before)
      await expectAlive()
    })
  }

  attackTest(
    'openssl verify takes the certificates of the cluster for what they are, and for nothing else',
    async () => {
      const { certificate } = await member.pull(cluster, blob)
      const pull = file('pull.crt', certificate.certificatePem)
      const serve = file('serve.crt', (await member.serve(9)).certificatePem)
      const node = file('node.crt', member.nodeCertificate.certificatePem)
      const authority = file('cluster.crt', member.authorities[0]!)
      const stranger = file(
        'stranger.crt',
        (await makeAuthority({ commonName: 'stranger', validForSeconds: 600 })).certificatePem,
      )
      const isVerified = async (ca: string, leaf: string, ...more: string[]) =>
        (await run('openssl', ['verify', '-x509_strict', '-CAfile', ca, ...more, leaf])).code === 0
      for (const leaf of [pull, serve, node]) {
        expect([leaf, await isVerified(authority, leaf)]).toEqual([leaf, true])
        expect([leaf, await isVerified(stranger, leaf)]).toEqual([leaf, false])
      }
      // Nothing that a node holds can be an authority, and a serve certificate is no client's.
      expect(await isVerified(pull, serve, '-partial_chain')).toBe(false)
      expect(await isVerified(authority, serve, '-purpose', 'sslclient')).toBe(false)
      expect(await isVerified(authority, serve, '-purpose', 'sslserver')).toBe(true)
      expect(await isVerified(authority, pull, '-purpose', 'sslclient')).toBe(true)
      await expectAlive()
    },
  )

  attackTest(
    'openssl verify refuses a leaf of the proxy’s authority for a host that is not configured',
    async () => {
      const proxyCa = file('proxy-ca.crt', await holder.caPem())
      const { stdout } = await run('openssl', [
        ...['s_client', '-connect', `127.0.0.1:${(relay.address() as AddressInfo).port}`],
        ...['-servername', 'localhost', '-showcerts'],
      ])
      const [pem] = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/.exec(stdout) ?? []
      const leaf = file('proxy-leaf.crt', pem!)
      const verify = (...more: string[]) => run('openssl', ['verify', '-CAfile', proxyCa, ...more, leaf])
      expect((await verify('-verify_hostname', 'localhost')).code).toBe(0)
      expect((await verify('-verify_hostname', 'bank.example')).code).not.toBe(0)
      expect((await run('openssl', ['x509', '-in', proxyCa, '-noout', '-text'])).stdout).toMatch(
        /Name Constraints: critical/,
      )
      await expectAlive()
    },
  )

  const refusals = () => cluster.logText().split('"code":"PEER_REFUSED"').length

  /** @returns the suites of every protocol version that is offered */
  async function enumerate(port: number, servername: string): Promise<Map<string, string[]>> {
    const { stdout } = await run('nmap', [
      ...['-Pn', '-n', '--unprivileged', '-p', String(port), '--script', '+ssl-enum-ciphers'],
      ...['--script-args', `tls.servername=${servername}`, '127.0.0.1'],
    ])
    const found = new Map<string, string[]>()
    let version = ''
    for (const line of stdout.split('\n')) {
      version = /^\|\s+(SSLv\d|TLSv\d\.\d):/.exec(line)?.[1] ?? version
      const suite = /^\|\s+(TLS_\w+)/.exec(line)?.[1]
      if (suite !== undefined) found.set(version, [...(found.get(version) ?? []), suite])
    }
    expect(found.size, stdout).toBeGreaterThan(0)
    return found
  }
})

async function run(
  program: string,
  argv: string[],
  { input = '', patienceMs = PATIENCE_MS }: { input?: string; patienceMs?: number } = {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(program, argv)
  const timer = setTimeout(() => child.kill('SIGKILL'), patienceMs)
  const output = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text))
  child.stdin.on('error', () => undefined)
  child.stdin.end(input)
  const [code] = (await once(child, 'close')) as [number | null]
  clearTimeout(timer)
  return { code, ...output }
}
