import { spawn } from 'node:child_process'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { issueLeaf, type KeyedCertificate, makeAuthority } from '../../../core/issue-certificate.ts'
import { alwaysStatus } from '../../core/test-registry.ts'
import { freezablePort } from '../../pull/freezable-port.ts'
import { Seeds } from './seeds.ts'
import { type Diagnosis, faultsOf, findingOf, useWorld, type World } from './world.ts'

/**
 * Faults put into a machine where everything is right, as real as is cheap: the doctor finds each, no other, and names what
 * mends it. What needs a whole machine is in judge.test.ts.
 */

let world: World
let seeds: Seeds
useWorld((made) => {
  world = made
  seeds = new Seeds(made)
  return seeds
})

interface Fault {
  what: string
  seed: () => Promise<Diagnosis> | Diagnosis
  /** All that is found wrong; the first is the seed, others follow from it. */
  found: string[]
  /** Words of the remedy. */
  remedy: RegExp
}

const leafOf = (authority: KeyedCertificate, validForSeconds: number) =>
  issueLeaf(authority, {
    ...{ commonName: 'localhost', validForSeconds, usages: ['serverAuth'] },
    names: [{ type: 'dns', value: 'localhost' }],
  })

/** Something in the place of the tracker, with a certificate that the node trusts unless it is told otherwise. */
async function inPlaceOfTracker(
  code: string | undefined,
  { validForSeconds = 600, isTrusted = true } = {},
): Promise<Diagnosis> {
  const authority = await makeAuthority({ commonName: 'other authority', validForSeconds: 3600 })
  const { certificatePem: cert, privateKeyPem: key } = await leafOf(authority, validForSeconds)
  const other = await seeds.registry(
    (_request, response) =>
      void response.writeHead(code === undefined ? 404 : 503).end(JSON.stringify({ error: { code } })),
    { cert, key },
  )
  const trackerCaFile = isTrusted
    ? world.write('other-ca.pem', authority.certificatePem)
    : world.settings.trackerCaFile
  return { settings: { trackerUrl: `https://${other.host}`, trackerCaFile } }
}

/** Docker takes no proxy to `localhost`, whatever NO_PROXY says; the registries of these tests have no other name. */
const PAST = 'runtimes REGISTRY_PAST_PROXY'
const BEHIND_PROXY = { host: 'registry.invalid:5000' }

const FAULTS: Fault[] = [
  {
    what: 'a setting with a wrong name',
    seed: () => ({ file: JSON.stringify({ ...world.settings, proxyListn: '127.0.0.1:7070' }) }),
    found: ['settings SETTINGS_REFUSED'],
    remedy: /Did you mean proxyListen\?/,
  },
  {
    what: 'a file that holds no join token',
    seed: () => ({ settings: { joinTokenFile: world.write('no-token', 'hunter2') } }),
    found: ['settings JOIN_TOKEN_UNREADABLE'],
    remedy: /shoal admin token create.*shoal join/,
  },
  {
    what: 'a runtime that nobody would answer while the node is down',
    seed: () => {
      seeds.attached('docker', { via: 'proxy' })
      return {}
    },
    found: ['guard RELAY_MISSING'],
    remedy: /shoal guard run/,
  },
  {
    what: 'a socket unit that is not active',
    seed: () => ({ says: { systemctl: 'LoadState=loaded\nActiveState=inactive\n' } }),
    found: ['guard SOCKETS_NOT_HELD'],
    remedy: /systemctl enable --now shoal-proxy\.socket/,
  },
  {
    what: 'an attachment that was interrupted',
    seed: () => {
      seeds.attached('containerd', { phase: 'writing' })
      return {}
    },
    found: ['runtimes ATTACH_INTERRUPTED'],
    remedy: /shoal attach containerd.*shoal detach containerd/,
  },
  {
    what: 'an attached file that was edited',
    seed: () => {
      world.write('etc/crio/crio.conf.d/shoal.conf', 'edited')
      seeds.attached('cri-o', {
        edits: [{ path: '/etc/crio/crio.conf.d/shoal.conf', after: { text: 'written' } }],
      })
      return {}
    },
    found: ['runtimes ATTACHED_FILE_CHANGED'],
    remedy: /shoal attach cri-o/,
  },
  {
    what: 'a daemon that was not restarted since it was attached',
    seed: async () => {
      copyFileSync('/bin/sleep', join(world.folder, 'buildkitd'))
      const daemon = spawn('/bin/sh', ['-c', 'chmod +x buildkitd; exec ./buildkitd 60'], {
        cwd: world.folder,
      })
      seeds.after(() => daemon.kill('SIGKILL'))
      const name = () => readFileSync(`/proc/${daemon.pid}/comm`, 'utf8')
      await expect.poll(name, { interval: 10 }).toBe('buildkitd\n')
      const since = new Date(Date.now() + 60_000).toISOString()
      seeds.attached('buildkit', { since, restart: ['systemctl restart buildkit'] })
      return {}
    },
    found: ['runtimes RUNTIME_NOT_RESTARTED'],
    remedy: /systemctl restart buildkit/,
  },
  {
    what: 'a Docker that is not attached',
    seed: () => ({ says: seeds.docker('') }),
    found: ['runtimes RUNTIME_UNATTACHED'],
    remedy: /shoal attach docker --registry localhost:\d+/,
  },
  {
    what: 'a Docker that runs with another proxy than it was attached to',
    seed: async () => {
      seeds.attached('docker', { via: 'proxy' })
      const guardControl = await seeds.guard({ node: 'serving', relay: 'off' })
      return { guardControl, says: seeds.docker('http://proxy.example:3128') }
    },
    found: ['runtimes RUNTIME_PROXY_DIFFERS'],
    remedy: /shoal attach docker/,
  },
  {
    what: 'a NO_PROXY that covers the registry',
    seed: () => ({ says: seeds.docker(seeds.proxyUrl, 'localhost,127.0.0.0/8') }),
    found: ['runtimes REGISTRY_PAST_PROXY'],
    remedy: /NO_PROXY.*restart/,
  },
  {
    what: 'a proxy that nobody answers for',
    seed: async () => ({ settings: { proxyListen: `127.0.0.1:${await seeds.closedPort()}` } }),
    found: ['proxy PROXY_SILENT'],
    remedy: /systemctl start shoal-proxy\.socket shoal/,
  },
  {
    what: 'another program at the address of the proxy',
    seed: async () => ({ settings: { proxyListen: `127.0.0.1:${await seeds.httpPort(400)}` } }),
    found: ['proxy PROXY_FOREIGN'],
    remedy: /--proxy-listen/,
  },
  {
    what: 'a Docker that does not trust the node',
    seed: () => ({
      settings: { dockerCertsDir: join(world.folder, 'no-certs.d') },
      says: seeds.docker(seeds.proxyUrl),
    }),
    found: ['trust RUNTIME_DISTRUSTS', PAST],
    remedy: /shoal attach docker --registry localhost:\d+.*proxy-ca\.crt/,
  },
  {
    what: 'a registry in the settings that the running node does not intercept',
    seed: async () => ({
      ...seeds.both((await seeds.registry()).config),
      says: seeds.docker(seeds.proxyUrl),
    }),
    found: ['trust REGISTRY_TUNNELLED', PAST],
    remedy: /--registries/,
  },
  {
    what: 'a registry of an authority that only Docker knows',
    seed: async () => seeds.both({ host: (await seeds.registry()).host }),
    found: ['registries REGISTRY_UNVERIFIED'],
    remedy: /caFile.*--docker-certs-dir/,
  },
  {
    what: 'a registry that speaks plain HTTP',
    seed: async () => seeds.both({ host: `localhost:${await seeds.httpPort(401)}` }),
    found: ['registries REGISTRY_PLAIN_HTTP'],
    remedy: /certificate.*--registries/,
  },
  {
    what: 'a registry that ends connections before TLS',
    seed: async () => {
      const server = createServer((socket) => socket.once('data', () => socket.resetAndDestroy()))
      return seeds.both({ host: `127.0.0.1:${await seeds.listens(server)}` })
    },
    found: ['registries REGISTRY_TLS'],
    remedy: /TLS 1\.2.*clientCertFile/,
  },
  {
    what: 'a registry that is not there',
    seed: async () => seeds.both({ host: `localhost:${await seeds.closedPort()}` }),
    found: ['registries REGISTRY_UNREACHABLE'],
    remedy: /--upstream-proxy/,
  },
  {
    what: 'a client certificate without its key',
    seed: async () => {
      const { config, host } = await seeds.registry()
      world.write(`certs.d/${host}/client.cert`, 'no certificate')
      return seeds.both(config)
    },
    found: ['registries REGISTRY_CLIENT_CERTIFICATE'],
    remedy: /\.cert and \.key files.*clientCertFile/,
  },
  {
    what: 'a registry whose API answers with an error',
    seed: async () => seeds.both((await seeds.registry(alwaysStatus(502))).config),
    found: ['registries REGISTRY_ANSWERS_ODDLY'],
    remedy: /apiPath/,
  },
  {
    what: 'an upstream proxy that is not there',
    seed: async () => ({
      settings: {
        upstreamProxy: `http://127.0.0.1:${await seeds.closedPort()}`,
        ...seeds.both(BEHIND_PROXY).settings,
      },
    }),
    found: ['upstream UPSTREAM_PROXY_UNREACHABLE', 'registries REGISTRY_UNREACHABLE'],
    remedy: /--upstream-proxy.*--no-proxy/,
  },
  {
    what: 'an upstream proxy that wants a password',
    seed: async () => ({
      settings: {
        upstreamProxy: `http://127.0.0.1:${await seeds.httpPort(407)}`,
        ...seeds.both(BEHIND_PROXY).settings,
      },
    }),
    found: ['upstream UPSTREAM_PROXY_REFUSED', 'registries REGISTRY_UNREACHABLE'],
    remedy: /--upstream-proxy-file/,
  },
  {
    what: 'a tracker that is not there',
    seed: async () => ({ settings: { trackerUrl: `https://localhost:${await seeds.closedPort()}` } }),
    found: ['tracker TRACKER_UNREACHED'],
    remedy: /systemctl start shoal-tracker.*trackerUrl/,
  },
  {
    what: 'a frozen tracker',
    seed: async () => {
      const port = await freezablePort(Number(new URL(String(world.settings.trackerUrl)).port))
      seeds.after(() => port.close())
      port.freeze()
      return { settings: { trackerUrl: `https://localhost:${port.port}` } }
    },
    found: ['tracker TRACKER_UNREACHED'],
    remedy: /systemctl start shoal-tracker/,
  },
  {
    what: 'a tracker of an authority that the node does not know',
    seed: () => inPlaceOfTracker('CERTIFICATE_REQUIRED', { isTrusted: false }),
    found: ['tracker TRACKER_UNVERIFIED'],
    remedy: /--tracker-ca-file/,
  },
  {
    what: 'a locked tracker',
    seed: () => inPlaceOfTracker('TRACKER_LOCKED'),
    found: ['tracker TRACKER_LOCKED'],
    remedy: /shoal tracker unlock/,
  },
  {
    what: 'something that is no tracker',
    seed: () => inPlaceOfTracker(undefined),
    found: ['tracker TRACKER_UNREACHED'],
    remedy: /trackerUrl/,
  },
  {
    what: 'a tracker whose certificate ends soon',
    seed: () => inPlaceOfTracker('CERTIFICATE_REQUIRED', { validForSeconds: 60 }),
    found: ['expiry CERTIFICATE_EXPIRES'],
    remedy: /shoal certs tracker-tls/,
  },
  {
    what: 'a clock that differs from that of a registry',
    seed: async () => {
      const date = new Date(Date.now() + 2 * 3_600_000).toUTCString()
      return seeds.both((await seeds.registry(alwaysStatus(401, { date }))).config)
    },
    found: ['clock CLOCK_DIFFERS'],
    remedy: /timedatectl.*chronyd/,
  },
  {
    what: 'a clock that is ahead of the end of a registry’s certificate',
    seed: async () => {
      const date = new Date(Date.now() - 2 * 3_600_000).toUTCString()
      const authority = await makeAuthority({ commonName: 'other authority', validForSeconds: 3600 })
      const { certificatePem: cert, privateKeyPem: key } = await leafOf(authority, -10)
      const { host } = await seeds.registry(alwaysStatus(401, { date }), { cert, key })
      return seeds.both({ host, caFile: world.write('clock-ca.pem', authority.certificatePem) })
    },
    found: ['clock CLOCK_SKEWED', 'registries REGISTRY_UNVERIFIED'],
    remedy: /Set the clock.*chronyd/,
  },
  {
    what: 'a node certificate that is not being renewed',
    seed: async () => {
      const path = join(String(world.settings.dataDir), 'node.pem')
      const before = readFileSync(path)
      seeds.after(() => writeFileSync(path, before))
      const authority = await makeAuthority({ commonName: 'any', validForSeconds: 3600 })
      writeFileSync(path, (await leafOf(authority, 60)).certificatePem)
      return {}
    },
    found: ['expiry NODE_CERTIFICATE_STUCK'],
    remedy: /restart the node/,
  },
  {
    what: 'a data folder that is none',
    seed: () => ({ settings: { dataDir: world.write('file', 'x') } }),
    found: ['disk DATA_FOLDER_UNUSABLE'],
    remedy: /--data-dir/,
  },
  {
    what: 'a paused node',
    seed: async () => {
      await world.ask('PUT', '/v1/pause')
      seeds.after(() => world.ask('DELETE', '/v1/pause'))
      return { says: seeds.docker(seeds.proxyUrl) }
    },
    found: ['node PAUSED', PAST],
    remedy: /shoal resume/,
  },
]

test('a machine where everything is right has no fault', async () => {
  const reports = await world.diagnose()
  expect(faultsOf(reports)).toEqual([])
  const levels = reports.flatMap(({ findings }) => findings.map(({ level }) => level))
  expect(levels.filter((level) => level === 'unknown')).toEqual([])
  expect(reports.map(({ findings }) => findings.length)).not.toContain(0)
})

describe('the doctor finds', () => {
  test.each(FAULTS)('$what', async ({ seed, found, remedy }) => {
    const reports = await world.diagnose(await seed())
    expect(new Set(faultsOf(reports))).toEqual(new Set(found))
    expect(findingOf(reports, found[0]!.split(' ')[1]!)?.remedy).toMatch(remedy)
  })
})

test('of several trackers, one that does not answer is a warning that names it', async () => {
  const closed = `https://localhost:${await seeds.closedPort()}`
  const trackerUrl = `${closed},${world.settings.trackerUrl}`
  const reports = await world.diagnose({ settings: { trackerUrl } })
  expect(faultsOf(reports)).toEqual(['tracker TRACKER_UNREACHED'])
  expect(findingOf(reports, 'TRACKER_UNREACHED')).toMatchObject({
    level: 'warning',
    text: expect.stringContaining(new URL(closed).host),
  })
})
