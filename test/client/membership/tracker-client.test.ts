import { afterEach, expect, test } from 'vitest'
import { Conditions } from '../../../core/conditions.ts'
import { issueLeaf, makeAuthority } from '../../../core/issue-certificate.ts'
import { createLog } from '../../../core/log.ts'
import { UpstreamProxy } from '../../../core/upstream-proxy.ts'
import { startConnectProxy } from '../../core/connect-proxy.ts'
import { type Door, startTestRegistry } from '../../core/test-registry.ts'
import { type TrackerAccess, unwatchedTracker } from './unwatched-tracker.ts'

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

const lines: string[] = []
const log = createLog({ level: 'info', name: 'test', destination: { write: (line) => lines.push(line) } })

/** Any HTTPS server may stand for the tracker: what it answers does not matter here. */
const refusing: Door = (_, response) => void response.writeHead(500).end('{}')
async function startServer(door = refusing, options: object = {}) {
  const server = await startTestRegistry(door, {}, options)
  closers.push(() => server.close())
  return { server, trackerUrl: `https://${server.host}` }
}

function begin(options: TrackerAccess) {
  const tracker = unwatchedTracker(options)
  closers.push(() => tracker.close())
  return () => tracker.heartbeat({} as never)
}

test('a tracker with an unknown authority: the words name --tracker-ca-file, and no flag of Node', async () => {
  const { trackerUrl } = await startServer()
  const error: Error = await begin({ trackerUrl, trackerCaPem: undefined })().catch((it) => it)
  expect(error).toMatchObject({ code: 'TRACKER_UNAVAILABLE' })
  log.warn({ err: error }, 'as the node logs it')
  expect(lines.join()).toContain('--tracker-ca-file must name it')
  expect(lines.join()).not.toContain('use-system-ca')
})

test('a tracker’s bundle may hold the server’s own certificate', async () => {
  const authority = await makeAuthority({ commonName: 'a', validForSeconds: 600 })
  const names = [{ type: 'dns' as const, value: 'localhost' }]
  const wanted = { commonName: 'localhost', validForSeconds: 600, names, usages: ['serverAuth' as const] }
  const leaf = await issueLeaf(authority, wanted)
  const tls = { cert: leaf.certificatePem, key: leaf.privateKeyPem }
  const { server, trackerUrl } = await startServer(refusing, { tls })
  await expect(begin({ trackerUrl, trackerCaPem: leaf.certificatePem })()).rejects.toThrowError(
    'answered 500',
  )
  expect(server.requests).toHaveLength(1)
})

test('a node names itself to the tracker', async () => {
  const authority = await makeAuthority({ commonName: 'a', validForSeconds: 600 })
  const names = [{ type: 'dns' as const, value: 'localhost' }]
  const wanted = { commonName: 'localhost', validForSeconds: 600, names, usages: ['serverAuth' as const] }
  const leaf = await issueLeaf(authority, wanted)
  const agents: unknown[] = []
  const door: Door = ({ headers }, response) => {
    agents.push(headers['user-agent'])
    response.writeHead(500).end('{}')
  }
  const { trackerUrl } = await startServer(door, {
    tls: { cert: leaf.certificatePem, key: leaf.privateKeyPem },
  })
  await begin({ trackerUrl, trackerCaPem: leaf.certificatePem })().catch(() => undefined)
  expect(agents).toEqual([expect.stringMatching(/^shoal\/\d+\.\d+\.\d+/)])
})

test('a tracker whose certificate has ended: the clocks are compared, and a difference is named', async () => {
  const authority = await makeAuthority({ commonName: 'a', validForSeconds: 600 })
  const names = [{ type: 'dns' as const, value: 'localhost' }]
  const ended = { commonName: 'localhost', validForSeconds: -60, names, usages: ['serverAuth' as const] }
  const leaf = await issueLeaf(authority, ended)
  const tls = { cert: leaf.certificatePem, key: leaf.privateKeyPem }
  let theirMs = Date.now() - 3600_000
  const agents: unknown[] = []
  const door: Door = ({ headers }, response) => {
    agents.push(headers['user-agent'])
    response.writeHead(401, { date: new Date(theirMs).toUTCString() }).end()
  }
  const { trackerUrl } = await startServer(door, { tls })
  const compare = async () => {
    const conditions = new Conditions({ log })
    const ask = begin({ trackerUrl, trackerCaPem: authority.certificatePem, conditions })
    await expect(ask()).rejects.toThrowError(/certificate has expired/)
    return conditions
  }
  const skewed = await compare()
  await expect.poll(() => skewed.list()).toMatchObject([{ code: 'CLOCK_SKEWED', subject: trackerUrl }])
  expect(skewed.list()[0]!.facts.aheadSeconds).toBeGreaterThan(3590)
  expect(agents).toEqual([expect.stringMatching(/^shoal\/\d+\.\d+\.\d+$/)])
  // The certificate is the culprit: the clocks agree.
  theirMs = Date.now()
  const agreeing = await compare()
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(agreeing.list()).toEqual([])
})

test('a tracker that only the upstream proxy reaches', async () => {
  const company = await startConnectProxy({ credentials: 'u:p' })
  closers.push(() => company.close())
  const { server, trackerUrl } = await startServer(refusing, { name: 'tracker.invalid' })
  const url = `http://u:p@127.0.0.1:${company.port}`
  const upstreamProxy = new UpstreamProxy({ https: url, http: undefined, noProxy: '' })
  const trackerCaPem = server.authority.certificatePem
  await expect(begin({ trackerUrl, trackerCaPem, upstreamProxy })()).rejects.toThrowError('answered 500')
  expect(company.connects).toEqual([server.host])
})
