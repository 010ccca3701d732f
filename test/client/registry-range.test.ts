import { once } from 'node:events'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Agent, Pool } from 'undici'
import { afterEach, expect, test } from 'vitest'
import { readRange } from '../../client/net/registry-range.ts'
import type { Digest } from '../../core/digest.ts'
import type { RegistryClient } from '../../core/registry-client.ts'
import type { Repository } from '../../core/repository.ts'

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
    dispatcher: new Pool(origin),
    redirectDispatcher: new Agent(),
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
    for await (const chunk of range) bytes += chunk.length
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
  ['307 to where no redirect may lead', answering(307, { location: 'https://169.254.169.254/' }, BODY)],
])('a registry that answers %s costs the request and not the process', async (_name, answer) => {
  expect(await readFrom(answer)).toBe('ORIGIN_REFUSED')
  expect(uncaught).toEqual([])
})

test('a registry that ignores Range and sends more is read as far as asked', async () => {
  expect(await readFrom(answering(200, {}, BODY))).toBe(100)
  expect(uncaught).toEqual([])
})
