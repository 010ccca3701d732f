import { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import pino from 'pino'
import { afterEach, expect, test } from 'vitest'
import { openRegistries, type RegistryClients } from '../../core/registry-client.ts'
import { registriesConfig } from '../../core/registry-config.ts'
import { DOCKER_HUB } from '../../core/repository.ts'
import { answerConnect } from '../../proxy/connect.ts'
import { ProxyAuthority } from '../../proxy/intercept/authority.ts'
import { Rejections } from '../../proxy/intercept/rejections.ts'
import { NEVER_PAUSED } from '../../proxy/pause.ts'
import type { SocketOwner } from '../../proxy/socket-owner.ts'
import { noteDefects } from '../core/noted-defects.ts'
import { alwaysStatus } from '../core/test-registry.ts'
import { NoSwarmError } from './fake-client.ts'
import { openTunnel, startTestProxy, type TestProxy } from './test-proxy.ts'

let proxy: TestProxy | undefined
let registries: RegistryClients = new Map()
afterEach(async () => {
  await proxy?.close()
  proxy = undefined
  for (const registry of registries.values()) await registry.close()
  registries = new Map()
})

async function begin(name: string, executable: string): Promise<ProxyAuthority> {
  registries = openRegistries(registriesConfig.parse(name))
  const authority = await ProxyAuthority.make([...registries.keys()])
  const owner: SocketOwner = { uid: 0, executable }
  const owners = { userOf: async () => 0, ownerOf: async () => owner }
  proxy = await startTestProxy(alwaysStatus(200), { registries, authority, owners })
  return authority
}

test.each(['docker.io', 'registry-1.docker.io', 'index.docker.io', 'Docker.IO:443'])(
  'Docker Hub as %s is the registry that clients connect to',
  async (name) => {
    const authority = await begin(name, '/usr/bin/skopeo')
    expect([...registries.keys()]).toEqual([DOCKER_HUB])
    const { status, socket } = await openTunnel(proxy!.port, 'registry-1.docker.io:443')
    expect(status).toBe(200)
    const secure = connectTls({ socket, servername: DOCKER_HUB, ca: authority.certificatesPem })
    await new Promise((resolve, reject) => secure.once('secureConnect', resolve).once('error', reject))
    secure.destroy()
  },
)

test('two names of Docker Hub are one registry, configured twice', () => {
  expect(registriesConfig.safeParse('docker.io,registry-1.docker.io').success).toBe(false)
})

test.each([
  ['/usr/bin/dockerd', DOCKER_HUB, 'tunnelled'],
  ['/usr/bin/skopeo', DOCKER_HUB, 'intercepted'],
  ['/usr/bin/dockerd', 'registry.example', 'intercepted'],
])('%s at %s is %s: dockerd trusts no added authority for Docker Hub', async (executable, host, outcome) => {
  const outcomes: string[] = []
  const take = (it: string) => async () => {
    outcomes.push(it)
    throw new NoSwarmError('enough')
  }
  registries = openRegistries(registriesConfig.parse(host))
  const parts = {
    registries,
    intercept: { accept: take('intercepted') },
    policy: { check: take('tunnelled') },
    rejections: new Rejections(),
    reach: { isTunnelled: async () => false },
    defects: noteDefects().defects,
    owners: { ownerOf: async () => ({ uid: 0, executable }) },
    pause: NEVER_PAUSED,
    metrics: { connectAnswered: () => undefined },
    log: pino({ level: 'silent' }),
  } as never
  const request = { url: `${host}:443`, headers: {} } as never
  await answerConnect(parts, { request, socket: new Socket(), head: Buffer.alloc(0) })
  expect(outcomes).toEqual([outcome])
})
