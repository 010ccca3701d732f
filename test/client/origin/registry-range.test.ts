import { once } from 'node:events'
import { createServer, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { Agent, Pool } from 'undici'
import { afterEach, expect, test } from 'vitest'
import { type LastRedirect, readRange } from '../../../client/origin/registry-range.ts'
import type { Digest } from '../../../core/digest.ts'
import { makeAuthority } from '../../../core/issue-certificate.ts'
import type { RegistryClient } from '../../../core/registry-client.ts'
import { RegistryHabits } from '../../../core/registry-habits.ts'
import { RegistryLimit } from '../../../core/registry-limit.ts'
import type { RegistryHost, Repository } from '../../../core/repository.ts'
import { issueForLocalhost } from '../../../lab/machine/localhost-certificate.ts'

/** Registries that answer a blob request with something else. What is thrown past the caller ends a node's process. */

const BODY = Buffer.alloc(2000, 'x')
let server: Server | undefined
let registry: RegistryClient | undefined
const uncaught: Error[] = []
const note = (error: Error) => void uncaught.push(error)

afterEach(async () => {
  process.off('uncaughtExceptionMonitor', note)
  await registry?.dispatcher.destroy()
  await registry?.redirectDispatcher.destroy()
  server?.close()
})

/** Reads the first 100 bytes of a blob. @returns the code of the refusal, or the bytes that came */
async function readFrom(answer: (response: ServerResponse) => void): Promise<string | number> {
  server = createServer((_request, response) => answer(response)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  registry = {
    host: 'registry.test',
    config: { permitPrivateRedirects: false },
    habits: new RegistryHabits('registry.test' as RegistryHost),
    dispatcher: new Pool(origin),
    redirectDispatcher: new Agent(),
    limit: new RegistryLimit(),
  } as unknown as RegistryClient
  uncaught.length = 0
  process.on('uncaughtExceptionMonitor', note)
  let bytes = 0
  try {
    const range = readRange({
      registry,
      repository: 'team/app' as Repository,
      digest: `sha256:${'0'.repeat(64)}` as Digest,
      credential: { scheme: 'none' },
      from: 0,
      to: 100,
      signal: new AbortController().signal,
    })
    for await (const chunks of range) for (const { length } of chunks) bytes += length
    return bytes
  } catch (error) {
    return (error as { code: string }).code
  } finally {
    // Streams tell of their end a turn later.
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

const answering = (status: number, headers: Record<string, string | number>, body: Buffer) => {
  return (response: ServerResponse) => {
    response.writeHead(status, { 'content-length': body.length, ...headers })
    response.end(body)
  }
}

test.each([
  ['401 to a token that has ended', answering(401, {}, Buffer.from('{"errors":[]}'))],
  ['404 without a body', answering(404, {}, Buffer.alloc(0))],
  ['500 with a long body', answering(500, {}, BODY)],
  ['206 of another range', answering(206, { 'content-range': 'bytes 5-104/2000' }, BODY.subarray(0, 100))],
  ['206 that ends early', answering(206, { 'content-range': 'bytes 0-49/2000' }, BODY.subarray(0, 50))],
])('a registry that answers %s costs the request and not the process', async (_name, answer) => {
  expect(await readFrom(answer)).toBe('ORIGIN_REFUSED')
  expect(uncaught).toEqual([])
})

test('a registry that redirects to where no redirect may lead is told apart, and remembered', async () => {
  expect(await readFrom(answering(307, { location: 'https://169.254.169.254/' }, BODY))).toBe(
    'REDIRECT_REFUSED',
  )
  expect(registry!.habits.has('redirectRefused')).toBe(true)
  expect(uncaught).toEqual([])
})

test('a registry that ignores Range and sends more is read up to the requested end', async () => {
  expect(await readFrom(answering(200, {}, BODY))).toBe(100)
  expect(uncaught).toEqual([])
})

test('a redirect is used again while it serves, without asking the registry and without the token', async () => {
  const authority = await makeAuthority({ commonName: 'storage', validForSeconds: 3600 })
  const leaf = await issueForLocalhost(authority)
  let isSigned = true
  const authorizations: unknown[] = []
  const storage = createTlsServer(
    { cert: leaf.certificatePem, key: leaf.privateKeyPem },
    (request, response) => {
      authorizations.push(request.headers.authorization)
      if (!isSigned) return void response.writeHead(403).end()
      const [from, to] = /(\d+)-(\d+)/.exec(request.headers.range!)!.slice(1).map(Number) as [number, number]
      response.writeHead(206, { 'content-range': `bytes ${from}-${to}/2000` })
      response.end(BODY.subarray(from, to + 1))
    },
  ).listen(0, 'localhost')
  await once(storage, 'listening')
  const location = `https://localhost:${(storage.address() as AddressInfo).port}/blob?signature=1`
  let asked = 0
  server = createServer((_request, response) => {
    asked += 1
    isSigned = true
    response.writeHead(307, { location }).end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  registry = {
    host: 'registry.test',
    config: { permitPrivateRedirects: true },
    habits: new RegistryHabits('registry.test' as RegistryHost),
    dispatcher: new Pool(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
    redirectDispatcher: new Agent({ connect: { ca: authority.certificatePem } }),
    limit: new RegistryLimit(),
  } as unknown as RegistryClient
  const redirect: LastRedirect = { url: undefined }
  const readPart = async (from: number) => {
    const range = readRange({
      registry: registry!,
      repository: 'team/app' as Repository,
      digest: `sha256:${'0'.repeat(64)}` as Digest,
      credential: { scheme: 'bearer', token: 'secret' },
      ...{ from, to: from + 100, redirect },
      signal: new AbortController().signal,
    })
    let bytes = 0
    for await (const chunks of range) for (const { length } of chunks) bytes += length
    return bytes
  }
  try {
    expect([await readPart(0), await readPart(100), asked]).toEqual([100, 100, 1])
    isSigned = false
    expect([await readPart(200), asked]).toEqual([100, 2])
    expect(new Set(authorizations)).toEqual(new Set([undefined]))
  } finally {
    storage.closeAllConnections()
    storage.close()
  }
})
