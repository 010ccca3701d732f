import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect as connectTls } from 'node:tls'
import { afterEach, beforeEach, expect } from 'vitest'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { alwaysStatus } from '../core/test-registry.ts'
import { openTunnel, startTestProxy, type TestProxy } from '../proxy/test-proxy.ts'
import { attackTest, controlTest } from './ledger.ts'
import { loot } from './loot.ts'
import { runAs } from './other-user.ts'

/**
 * Somebody who wants Docker's pulls to go past Shoal: he rejects the proxy's certificate as Docker would, under Docker's
 * name. What he gains is each of Docker's connections that is tunnelled to the registry.
 */
const MALLORY = 60_001
const DOCKER = 'docker/24.0.7 go/go1.20.10 git-commit/311b9ff kernel/6.1 os/linux arch/amd64'

let proxy: TestProxy
beforeEach(async () => {
  proxy = await startTestProxy(alwaysStatus(200))
})
afterEach(() => proxy.close())

/** Rejects: nobody told it of the proxy's authority. */
const curlArguments = (userAgent = DOCKER) => [
  ...['-s', '-m', '10', '--noproxy', '', '-x', `http://127.0.0.1:${proxy.port}`, '-A', userAgent],
  `https://${proxy.registry.host}/v2/`,
]

/** curl's exit code for a certificate that it does not trust. */
const UNTRUSTED = 60

async function curl(): Promise<number | null> {
  const [code] = await once(spawn('curl', curlArguments(), { stdio: 'ignore' }), 'exit')
  return code
}

/** This process plays Docker. @returns whom it is connected to */
async function issuerSeen(): Promise<string> {
  const { socket } = await openTunnel(proxy.port, proxy.registry.host, DOCKER)
  const secure = connectTls({ socket, servername: 'localhost', rejectUnauthorized: false })
  await once(secure, 'secureConnect')
  const { issuer } = secure.getPeerCertificate()
  secure.destroy()
  return String(issuer.CN)
}

async function expectIntercepted(): Promise<void> {
  const issuer = await issuerSeen()
  if (!issuer.startsWith('Shoal proxy')) loot.bytes += 1
  expect(issuer).toMatch(/^Shoal proxy/)
}

const rejectionLogged = () =>
  expect.poll(() => proxy.logged.filter(({ tunnelledForMs }) => tunnelledForMs !== undefined).length)

if (!mustSkipFor(['linux', 'curl'])) {
  attackTest(
    'a program that rejects the certificate under Docker’s name takes nothing from Docker',
    async () => {
      await expectIntercepted()
      for (let count = 1; count <= 3; count++) {
        expect(await curl()).toBe(UNTRUSTED)
        await expectIntercepted()
      }
    },
  )

  controlTest('that program itself is tunnelled, and so can do without the proxy’s authority', async () => {
    expect(await curl()).toBe(UNTRUSTED)
    await rejectionLogged().toBe(1)
    // Tunnelled it sees the registry's own certificate, which it does not trust either: nothing more is rejected here.
    expect(await curl()).toBe(UNTRUSTED)
    expect(await proxy.metrics.text()).toMatch(
      /shoal_proxy_connects_total\{outcome="tunnelled_rejected"\} 1\b/,
    )
    await rejectionLogged().toBe(1)
    loot.bytes += 1
  })
}

if (!mustSkipFor(['linux', 'root', 'setpriv', 'curl'])) {
  attackTest('another user who rejects it with the very same program takes nothing from root', async () => {
    for (let count = 1; count <= 3; count++)
      expect(await runAs(MALLORY, 'curl', ...curlArguments())).toBe(UNTRUSTED)
    const { uid, executable } = proxy.logged.find(({ tunnelledForMs }) => tunnelledForMs !== undefined)!
    expect({ uid, executable }).toEqual({ uid: MALLORY, executable: expect.stringMatching(/curl$/) })
    await expectIntercepted()
    // The same program, started by root, is asked for its own judgement.
    expect(await curl()).toBe(UNTRUSTED)
    await rejectionLogged().toBe(2)
  })
}

if (!mustSkipFor(['openssl'])) {
  attackTest('one whom the kernel does not name holds nobody up', async () => {
    await proxy.close()
    const unknown = { userOf: async () => undefined, ownerOf: async () => undefined }
    proxy = await startTestProxy(alwaysStatus(200), { owners: unknown })
    const openssl = spawn('openssl', [
      ...['s_client', '-proxy', `127.0.0.1:${proxy.port}`, '-connect', proxy.registry.host],
      ...['-servername', 'localhost', '-verify_return_error'],
    ])
    openssl.stdin.end()
    await once(openssl, 'close')
    await rejectionLogged().toBe(1)
    expect(proxy.logged.find(({ tunnelledForMs }) => tunnelledForMs !== undefined)?.tunnelledForMs).toBe(0)
    await expectIntercepted()
  })
}
