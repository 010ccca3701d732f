import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect } from 'vitest'
import { createLog } from '../../core/log.ts'
import { parseRegistryHost } from '../../core/repository.ts'
import { nodeConfig } from '../../node/config.ts'
import { type RunningNode, startNode } from '../../node/main.ts'
import { FakeClient } from '../proxy/fake-client.ts'
import { openTunnel } from '../proxy/test-proxy.ts'
import { attackTest } from './ledger.ts'

/** A captured tracker names a host whose tokens it wants. No such host exists here: only what is intercepted answers. */
const VICTIM = parseRegistryHost('victim.invalid')

class CapturedTracker extends FakeClient {
  override registriesNamed() {
    return [{ host: VICTIM }]
  }
}

let folder: string
let node: RunningNode | undefined
afterEach(async () => {
  await node?.close()
  rmSync(folder, { recursive: true })
})

/** Whether the proxy took a connection to the host for itself, and clients were told to trust it there. */
async function intercepts(changes: object): Promise<{ status: number; hasTrustFile: boolean }> {
  folder = mkdtempSync(join(tmpdir(), 'shoal-unconsented-'))
  const config = nodeConfig.parse({
    trackerUrl: 'https://tracker.example:7443',
    dataDir: folder,
    proxyListen: '127.0.0.1:0',
    adminListen: '127.0.0.1:0',
    dockerCertsDir: join(folder, 'certs.d'),
    registries: 'registry.example',
    ...changes,
  })
  node = await startNode(
    config,
    createLog({ level: 'silent', name: 'test' }),
    async () => new CapturedTracker(),
  )
  const { status, socket } = await openTunnel(node.proxyAddress.port, `${VICTIM}:443`)
  socket.destroy()
  return { status, hasTrustFile: existsSync(join(folder, 'certs.d', VICTIM, 'shoal.crt')) }
}

attackTest('a host that only the tracker names is never intercepted', async () => {
  // 502: a tunnel was tried, and the name leads nowhere.
  expect(await intercepts({})).toEqual({ status: 502, hasTrustFile: false })
})

attackTest(
  'a host that only the tracker names is intercepted with consent, and then only that host',
  async () => {
    expect(await intercepts({ registriesFromTracker: true })).toEqual({ status: 200, hasTrustFile: true })
    const { status } = await openTunnel(node!.proxyAddress.port, 'other.invalid:443')
    expect(status).toBe(502)
  },
)
