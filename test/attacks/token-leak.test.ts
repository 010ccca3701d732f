import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, vi } from 'vitest'
import { NodeLink } from '../../client/peer/node-link.ts'
import { PeerLink } from '../../client/peer/peer-link.ts'
import { signatureOf, signingInputOf } from '../core/signed-tokens.ts'
import { progressOf, pull, randomBlob, startTestCluster, type TestCluster } from '../pull/test-cluster.ts'
import { attackTest } from './ledger.ts'
import { loot } from './loot.ts'

/** Whoever reads all that peers exchange, all logs and all files: the registry's signature must be in none of them. */
let cluster: TestCluster
afterEach(async () => {
  vi.restoreAllMocks()
  await cluster?.close()
})

/** All that betrays 24 bytes in a row of what must stay secret, in the forms in which it could travel. */
function tracesOf(token: string, algorithm: string): Buffer[] {
  const signature = signatureOf(token)
  // An ECDSA proof shows R, whose x coordinate is the signature's first half: the secret is the second.
  const secret =
    algorithm.startsWith('ES') || algorithm === 'EdDSA' ? signature.subarray(signature.length / 2) : signature
  const traces: Buffer[] = [Buffer.from(signature.toString('base64url')), Buffer.from(token)]
  for (let at = 0; at + 16 <= secret.length; at += 8) traces.push(secret.subarray(at, at + 16))
  for (let at = 0; at + 16 <= secret.length; at += 16) {
    const hex = secret.subarray(at, at + 16).toString('hex')
    traces.push(Buffer.from(hex), Buffer.from(hex.toUpperCase()))
  }
  const text = token.slice(token.lastIndexOf('.') + 1)
  const begin = Math.ceil(((signature.length - secret.length) * 4) / 3)
  for (let at = begin; at + 20 <= text.length; at += 7) traces.push(Buffer.from(text.slice(at, at + 20)))
  return traces
}

function expectNoTrace(what: string, bytes: Buffer, traces: Buffer[]): void {
  const found = traces.filter((trace) => bytes.includes(trace))
  for (const { length } of found) loot.bytes += length
  expect({ what, found: found.length }).toEqual({ what, found: 0 })
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true })
    .map((name) => join(folder, String(name)))
    .filter((path) => statSync(path).isFile())
}

for (const algorithm of ['ES256', 'ES384', 'EdDSA', 'RS256']) {
  attackTest(
    `nothing that peers exchange, log or store holds the token's signature (${algorithm})`,
    async () => {
      const exchanged: Buffer[] = []
      for (const kind of [PeerLink, NodeLink]) {
        const receive = kind.prototype.receive as (this: unknown, chunk: Buffer) => void
        vi.spyOn(kind.prototype, 'receive').mockImplementation(function (this: unknown, chunk: Buffer) {
          exchanged.push(Buffer.from(chunk))
          return receive.call(this, chunk)
        })
      }
      const logged: string[] = []
      const logTo = { write: (line: string) => void logged.push(line) }
      cluster = await startTestCluster({ nodes: 3, algorithm, logLevel: 'trace', logTo })
      const warm = cluster.registry.add(randomBlob(600_005).bytes)
      const cold = cluster.registry.add(randomBlob(600_007).bytes)
      const requests = [warm, warm, warm, cold, cold, cold].map((blob) => cluster.request(blob))
      const [first, second, third] = cluster.nodes
      // One after the other, then a cold blob by all at once; every pull has a token of its own.
      for (const [at, node] of [first!, second!, third!].entries()) await pull(node, requests[at]!)
      await Promise.all([first!, second!, third!].map((node, at) => pull(node, requests[3 + at]!)))
      await expect(pull(second!, { ...cluster.request(randomBlob(1000)) })).rejects.toThrow()

      const received = Buffer.concat(exchanged)
      const tokens = requests.map(({ credential }) =>
        credential.scheme === 'bearer' ? credential.token : '',
      )
      const log = Buffer.from(logged.join(''))
      const progress = Buffer.from(JSON.stringify(cluster.nodes.map(({ client }) => client.progress())))
      const files = filesBelow(cluster.folder).map((path) => [path, readFileSync(path)] as const)
      // The search is of use: peers did exchange blobs and proofs, and the signing input is to be found.
      expect(progressOf(second!, warm).bytesFromPeers).toBe(warm.bytes.length)
      expect(tokens.some((token) => received.includes(Buffer.from(signingInputOf(token))))).toBe(true)
      expect(files.some(([path]) => path.endsWith('tracker.sqlite'))).toBe(true)
      expect(log.length).toBeGreaterThan(1000)
      for (const token of tokens) {
        const traces = tracesOf(token, algorithm)
        expectNoTrace('what peers exchange', received, traces)
        expectNoTrace('logs', log, traces)
        expectNoTrace('progress', progress, traces)
        for (const [path, bytes] of files) expectNoTrace(path, bytes, traces)
      }
    },
    30_000,
  )
}
