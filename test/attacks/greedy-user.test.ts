import { spawn } from 'node:child_process'
import { request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect } from 'vitest'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { startAdmin } from '../../node/admin.ts'
import { KernelSocketOwners, type SocketOwners } from '../../proxy/socket-owner.ts'
import { noteDefects } from '../core/noted-defects.ts'
import { alwaysStatus } from '../core/test-registry.ts'
import { startTestProxy, type TestProxy } from '../proxy/test-proxy.ts'
import { attackTest } from './ledger.ts'
import { loot } from './loot.ts'
import { ConnectionHog } from './other-user.ts'

/** Users without rights who want all connections of the node for themselves. What they gain is each answer that fails. */
const MALLORY = 60_001
const BYSTANDER = 60_101
/** Users that one person may be, where /etc/subuid gives him a range. */
const MANY = [60_001, 60_002, 60_003, 60_004, 60_005, 60_006]
const PATIENCE_MS = 3000
const ASKING = 'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n'

describe('local users', () => {
  let proxy: TestProxy
  let admin: Awaited<ReturnType<typeof startAdmin>>
  const hogs: ConnectionHog[] = []

  beforeAll(async () => {
    proxy = await startTestProxy(alwaysStatus(200))
    admin = await adminOf(proxy, new KernelSocketOwners())
  })
  afterEach(async () => {
    for (const hog of hogs.splice(0)) await hog.stop()
  })
  afterAll(async () => {
    await admin.close()
    await proxy.close()
  })

  function adminOf({ metrics }: TestProxy, owners: SocketOwners) {
    return startAdmin({
      listen: { host: '127.0.0.1', port: 0 },
      conditions: { health: () => ({ status: 'ok', codes: [] }), shown: () => [] },
      isServing: () => true,
      ...{ metrics, owners, defects: noteDefects().defects },
      log: { warn: () => undefined } as never,
    })
  }

  async function hold(uids: number[], port: number, count: number, bytes?: string): Promise<void> {
    const started = uids.map((uid) =>
      ConnectionHog.start(uid, { port, count, ...(bytes === undefined ? {} : { bytes }) }),
    )
    hogs.push(...(await Promise.all(started)))
  }

  /** As root, in a connection of its own. */
  async function pull(): Promise<number> {
    const secure = await proxy.secure()
    secure.on('error', () => {})
    secure.write(`GET /v2/ HTTP/1.1\r\nHost: ${proxy.registry.host}\r\nConnection: close\r\n\r\n`)
    let text = ''
    for await (const chunk of secure) text += chunk
    return Number(text.split(' ')[1])
  }

  function page(path: string, { address } = admin): Promise<number> {
    return new Promise((resolve, reject) => {
      const asked = request({ host: '127.0.0.1', port: address.port, path, agent: false }, (response) => {
        response.resume()
        resolve(response.statusCode!)
      })
      asked.on('error', reject).end()
    })
  }

  /** Not once only, as chance may help. */
  async function expectAnswered(ask: () => Promise<number>, times = 20): Promise<void> {
    const beganAtMs = performance.now()
    for (let count = 0; count < times; count++) {
      const answer = await Promise.race([
        ask().catch((error: { code?: string }) => error.code ?? 'fails'),
        new Promise((resolve) => setTimeout(resolve, PATIENCE_MS, 'no answer in time')),
      ])
      if (answer !== 200) loot.bytes += 1
      expect(answer).toBe(200)
    }
    expect((performance.now() - beganAtMs) / times).toBeLessThan(1000)
  }

  attackTest(
    'users who cannot be told from each other count as one, who leaves room, and /healthz is answered',
    async () => {
      const unknown = { userOf: async () => undefined, ownerOf: async () => undefined }
      const blind = await startTestProxy(alwaysStatus(200), { owners: unknown })
      const blindAdmin = await adminOf(blind, unknown)
      const toProxy = holdHere(blind.port, 400)
      const toAdmin = holdHere(blindAdmin.address.port, 60, ASKING)
      const openOf = (sockets: Socket[]) => sockets.filter(({ readyState }) => readyState === 'open').length
      await expect.poll(() => openOf(toProxy)).toBe(256)
      await expectAnswered(() => page('/healthz', blindAdmin))
      // The share, and for a moment those that may ask whether the node is well.
      await expect.poll(() => openOf(toAdmin)).toBe(16)
      for (const socket of [...toProxy, ...toAdmin]) socket.destroy()
      await blindAdmin.close()
      await blind.close()
    },
  )

  if (!mustSkipFor(['linux', 'root', 'setpriv'])) {
    for (const [what, uids, count] of [
      ['one user with 1,100 connections', [MALLORY], 1100],
      ['six users with 250 each', MANY, 250],
    ] as const) {
      attackTest(`${what} to the proxy: root still pulls`, async () => {
        await hold([...uids], proxy.port, count)
        await expectAnswered(pull)
        expect(proxy.logged.map(({ code }) => code)).toContain('CONNECTIONS_TOO_MANY')
      })
    }

    attackTest('six users with 250 requests under way each: root still pulls', async () => {
      await hold(MANY, proxy.port, 250, `CONNECT ${proxy.registry.host} HTTP/1.1\r\nHost: x\r\n\r\n`)
      await expectAnswered(pull)
    })

    attackTest(
      'idle connections to the admin page: /healthz is answered, to root and to a third user',
      async () => {
        await hold(MANY, admin.address.port, 40)
        await expectAnswered(() => page('/healthz'))
        await expectAnswered(async () => Number(await healthAs(BYSTANDER)), 3)
      },
    )

    attackTest(
      'kept-alive connections to the admin page: /healthz is answered, to root and to a third user',
      async () => {
        await hold(MANY, admin.address.port, 40, ASKING)
        await expectAnswered(() => page('/healthz'))
        await expectAnswered(async () => Number(await healthAs(BYSTANDER)), 3)
      },
    )

    attackTest('one user’s own idle connections give way to those of his that ask', async () => {
      const held = holdHere(proxy.port, 1100)
      await expectAnswered(pull)
      for (const socket of held) socket.destroy()
    })

    attackTest('to the admin page and the proxy at once: /healthz is answered', async () => {
      await hold([MALLORY], proxy.port, 1100)
      await hold([MALLORY], admin.address.port, 200)
      await expectAnswered(() => page('/healthz'))
      await expectAnswered(() => page('/metrics'), 3)
    })
  }

  function holdHere(port: number, count: number, bytes = 'C'): Socket[] {
    return Array.from({ length: count }, () => {
      const socket = connect(port, '127.0.0.1').on('error', () => {})
      socket.resume().write(bytes)
      return socket
    })
  }

  const healthAs = (uid: number) => statusAs(uid, '/healthz')

  /** @returns the status that a user sees */
  async function statusAs(uid: number, path: string): Promise<string> {
    return new Promise((resolve) => {
      const user = ['--reuid', `${uid}`, '--regid', `${uid}`, '--clear-groups']
      const ask = `exec 3<>/dev/tcp/127.0.0.1/${admin.address.port}; printf 'GET ${path} HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3; read -r _ status _ <&3; echo -n "$status"`
      const child = spawn('setpriv', [...user, '/bin/bash', '-c', ask], { cwd: '/', timeout: PATIENCE_MS })
      let text = ''
      child.stdout.on('data', (chunk) => {
        text += chunk
      })
      child.on('close', () => resolve(text))
    })
  }
})
