import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { get as httpGet, type IncomingMessage } from 'node:http'
import { get as httpsGet } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { ClientOptions } from '../../client/index.ts'
import { CONDITION_CODES } from '../../core/conditions.ts'
import { issueLeaf, type KeyedCertificate, makeAuthority } from '../../core/issue-certificate.ts'
import { createLog } from '../../core/log.ts'
import { createMetrics } from '../../core/metrics.ts'
import { nodeConfig } from '../../node/config.ts'
import { type RunningNode, startNode } from '../../node/main.ts'
import { startMetricsListener } from '../../node/metrics-listener.ts'
import { FakeClient } from '../proxy/fake-client.ts'

const log = createLog({ level: 'silent', name: 'test' })
let folder: string
let authority: KeyedCertificate
let node: RunningNode | undefined
let conditions: NonNullable<ClientOptions['conditions']>
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-pages-'))
  authority = await makeAuthority({ commonName: 'metrics authority', validForSeconds: 3600 })
})
afterAll(() => rmSync(folder, { recursive: true }))
afterEach(async () => {
  await node?.close()
  node = undefined
})

async function start(changes: object = {}): Promise<void> {
  const config = nodeConfig.parse({
    ...{
      trackerUrl: 'https://tracker.example:7443',
      dataDir: folder,
      dockerCertsDir: 'none',
      attachedDir: 'none',
    },
    ...{ proxyListen: '127.0.0.1:0', adminListen: '127.0.0.1:0', registries: 'registry.example' },
    ...changes,
  })
  node = await startNode(config, log, async (options) => {
    conditions = options.conditions!
    return new FakeClient()
  })
}

async function ask(path: string, host = '127.0.0.1') {
  const { port } = node!.adminAddress
  const asked = httpGet({ host: '127.0.0.1', port, path, headers: { host }, agent: false })
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  return { status: answer.statusCode, body: Buffer.concat(await answer.toArray()).toString() }
}

/** Files with a new certificate. @returns its serial number's holder */
async function writeTls(commonName: string) {
  const names = [{ type: 'dns' as const, value: 'localhost' }]
  const leaf = await issueLeaf(authority, {
    commonName,
    validForSeconds: 3600,
    names,
    usages: ['serverAuth'],
  })
  const files = { metricsCertFile: join(folder, 'metrics.crt'), metricsKeyFile: join(folder, 'metrics.key') }
  writeFileSync(files.metricsCertFile, leaf.certificatePem)
  writeFileSync(files.metricsKeyFile, leaf.privateKeyPem)
  return files
}

async function scrape(port: number, path = '/metrics') {
  const asked = httpsGet({ host: 'localhost', port, path, ca: authority.certificatePem, agent: false })
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  const { CN } = (answer.socket as TLSSocket).getPeerCertificate().subject
  return { status: answer.statusCode, of: CN, body: Buffer.concat(await answer.toArray()).toString() }
}

describe('/readyz', () => {
  test('is 503 with the reasons, without what they are about, while nothing is shared', async () => {
    await start()
    expect(await ask('/readyz')).toMatchObject({ status: 200 })
    conditions.raise('TRACKER_SILENT', 'secret-host.example', { reason: 'secret-host.example' })
    const { status, body } = await ask('/readyz')
    expect(status).toBe(503)
    expect(JSON.parse(body)).toMatchObject({ status: 'not ready', reasons: [{ code: 'TRACKER_SILENT' }] })
    expect(body).not.toContain('secret-host')
    conditions.clear('TRACKER_SILENT', 'secret-host.example')
    conditions.raise('PAUSED')
    expect(await ask('/readyz')).toMatchObject({ status: 200 })
  })
})

test('the host in adminListen is a name for the pages too, and no other', async () => {
  await start({ adminListen: 'LocalHost:0' })
  expect((await ask('/healthz', 'localhost:1')).status).toBe(200)
  expect((await ask('/healthz', 'node.example')).status).toBe(403)
})

describe('metrics', () => {
  test('have no label that names a repository, a blob or a user, and their values are few and fixed', async () => {
    await start()
    const { body } = await ask('/metrics')
    const labels = [...body.matchAll(/[{,]([a-z_]+)="([^"]*)"/g)].map(([, name, value]) => ({
      name: name!,
      value: value!,
    }))
    const allowed = ['code', 'distance', 'outcome', 'reason', 'source', 'state', 'where']
    expect(labels.filter(({ name }) => !allowed.includes(name))).toEqual([])
    for (const { value } of labels) expect(value).toMatch(/^[A-Za-z_][\w ]{0,40}$/)
    for (const code of CONDITION_CODES) expect(body).toContain(`shoal_node_conditions{code="${code}"} `)
  })

  test('go to other machines over TLS only, and nothing else does', async () => {
    const files = await writeTls('first')
    await start({ ...files, metricsListen: '127.0.0.1:0' })
    const { port } = node!.metricsAddress!
    expect(await scrape(port)).toMatchObject({
      status: 200,
      of: 'first',
      body: expect.stringContaining('shoal_node_joined 1'),
    })
    for (const path of ['/healthz', '/readyz', '/v1/status', '/']) {
      expect(await scrape(port, path)).toMatchObject({ status: 404, body: '' })
    }
    const plain = fetch(`http://127.0.0.1:${port}/metrics`)
    await expect(plain).rejects.toThrow()
  })

  test('need a certificate and its key from the start', async () => {
    const files = await writeTls('first')
    await expect(start({ metricsListen: '127.0.0.1:0' })).rejects.toMatchObject({ code: 'CONFIG' })
    writeFileSync(files.metricsKeyFile, 'no key')
    await expect(start({ ...files, metricsListen: '127.0.0.1:0' })).rejects.toMatchObject({ code: 'CONFIG' })
  })

  test('have a new certificate once its files change, and keep the old one while they do not fit', async () => {
    const files = await writeTls('first')
    const raised: string[] = []
    const told = {
      raise: (code: string) => void raised.push(code),
      clear: (code: string) => void raised.push(`-${code}`),
    }
    const listener = await startMetricsListener({
      ...{
        listen: { host: '127.0.0.1', port: 0 },
        certFile: files.metricsCertFile,
        keyFile: files.metricsKeyFile,
      },
      ...{ metrics: createMetrics(), conditions: told as never, log, lookMs: 20 },
    })
    const { port } = listener.address
    writeFileSync(files.metricsKeyFile, 'half')
    await expect.poll(() => raised).toContain('METRICS_TLS')
    expect((await scrape(port)).of).toBe('first')
    await writeTls('second')
    await expect.poll(async () => (await scrape(port)).of).toBe('second')
    expect(raised.at(-1)).toBe('-METRICS_TLS')
    await listener.close()
  })
})
