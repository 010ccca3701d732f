import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createLog } from '../../core/log.ts'
import { authorityAt } from '../../lab/local-api.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { nodeConfig } from '../../node/config.ts'
import { CONSENT_READ_EVERY_MS } from '../../node/follow-consent.ts'
import { type RunningNode, startNode } from '../../node/main.ts'
import { FakeClient } from '../proxy/fake-client.ts'

/** Long enough for a look at the consent, and for what follows. */
const SOON = { timeout: 3 * CONSENT_READ_EVERY_MS, interval: 50 }

let folder: string
let node: RunningNode | undefined
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-consent-'))
  mkdirSync(join(folder, 'attached'))
})
afterEach(async () => {
  await node?.close()
  node = undefined
  rmSync(folder, { recursive: true })
})

async function start(): Promise<void> {
  const config = nodeConfig.parse({
    ...{ trackerUrl: 'https://tracker.example:7443', dataDir: join(folder, 'data') },
    ...{ proxyListen: '127.0.0.1:0', adminListen: '127.0.0.1:0', dockerCertsDir: join(folder, 'certs.d') },
    ...{ registries: 'registry.example', attachedDir: join(folder, 'attached') },
  })
  node = await startNode(config, createLog({ level: 'silent', name: 'test' }), async () => new FakeClient())
}

const publicFile = () => join(folder, 'public/ca.crt')
const consent = (rest: object) =>
  writeFileSync(
    join(folder, 'attached/consent.json'),
    JSON.stringify({ registries: ['registry.example'], ...rest }),
  )

async function ask(port: number, path: string, host = `127.0.0.1:${port}`) {
  const asked = httpRequest({ host: '127.0.0.1', port, path, headers: { host } }).end()
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  return { status: answer.statusCode, body: Buffer.concat(await answer.toArray()).toString() }
}

const codes = async (): Promise<string[]> =>
  JSON.parse((await ask(node!.adminAddress.port, '/healthz')).body).codes
const ownAuthority = () => authorityAt(node!.localSocket)

describe('what was attached', () => {
  test('before the start: the mirror listens, and the authority is where runtimes look', async () => {
    const port = await freePort()
    consent({ mirrorListen: `127.0.0.1:${port}`, authorityFile: publicFile() })
    await start()
    expect(node!.mirrorSockets).toEqual([{ host: '127.0.0.1', port }])
    expect(readFileSync(publicFile(), 'utf8')).toBe(await ownAuthority())
    expect(readFileSync(join(folder, 'data/proxy-ca.crt'), 'utf8')).toBe(await ownAuthority())
  })

  test('later counts at once: mirror, registries and the authority for them', async () => {
    await start()
    const before = await ownAuthority()
    const port = await freePort()
    consent({
      registries: ['registry.example', 'new.example:5000'],
      mirrorListen: `127.0.0.1:${port},new.example:5000=127.0.0.1:${await freePort()}`,
      authorityFile: publicFile(),
    })
    await vi.waitFor(() => expect(node!.mirrorSockets).toHaveLength(2), SOON)
    // 404 is for registries that the mirror does not stand for.
    expect((await ask(port, '/v2/?ns=other.example')).status).toBe(404)
    expect((await ask(port, '/v2/?ns=new.example:5000')).status).not.toBe(404)
    const now = await ownAuthority()
    expect(now.startsWith(before.trim())).toBe(true)
    expect(now.match(/BEGIN CERTIFICATE/g)).toHaveLength(2)
    expect(readFileSync(publicFile(), 'utf8')).toBe(now)
    expect(readFileSync(join(folder, 'certs.d/new.example:5000/shoal.crt'), 'utf8')).toBe(now)
  })

  test('with a port that another program has: the other ports open, and that one as soon as it is free', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port: taken } = other.address() as { port: number }
    const port = await freePort()
    consent({ mirrorListen: `127.0.0.1:${taken},registry.example=127.0.0.1:${port}` })
    await start()
    expect(node!.mirrorSockets).toEqual([{ host: '127.0.0.1', port }])
    expect(await codes()).toContain('ATTACHED_LATER')
    other.close()
    await vi.waitFor(() => expect(node!.mirrorSockets).toHaveLength(2), SOON)
    await vi.waitFor(async () => expect(await codes()).not.toContain('ATTACHED_LATER'), SOON)
  })

  test('and damaged is told, and takes nothing away from who is served', async () => {
    await start()
    writeFileSync(join(folder, 'attached/consent.json'), '{')
    await vi.waitFor(async () => expect(await codes()).toContain('ATTACHED_LATER'), SOON)
    consent({})
    await vi.waitFor(async () => expect(await codes()).not.toContain('ATTACHED_LATER'), SOON)
  })
})
