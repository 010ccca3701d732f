import { createHash, randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { afterEach, describe, expect, test } from 'vitest'
import type { Digest } from '../../core/digest.ts'
import type { RegistryHost, Repository } from '../../core/repository.ts'
import {
  ACCEPTED_REQUEST_MS,
  ACCEPTED_REQUESTS_MAX,
  AcceptedRequests,
} from '../../proxy/accepted-requests.ts'
import type { BlobGet } from '../../proxy/blob-request.ts'
import { makeSigner, pullClaims } from '../core/signed-tokens.ts'
import { startTestProxy, type TestProxy } from './test-proxy.ts'

const content = randomBytes(300_000)
const digest = `sha256:${createHash('sha256').update(content).digest('hex')}` as Digest
const blobPath = `/v2/team/app/blobs/${digest}`
const accepted = new Set(['Bearer good', 'Bearer better'])

let proxy: TestProxy | undefined
afterEach(() => proxy?.close())

async function start(answerHead: (response: ServerResponse) => void | Promise<void> = () => undefined) {
  proxy = await startTestProxy(async ({ headers, method }, response) => {
    if (!accepted.has(headers.authorization ?? '')) return void response.writeHead(401).end('no')
    await answerHead(response)
    response.writeHead(200, { 'content-length': content.length })
    response.end(method === 'HEAD' ? undefined : content)
  })
  proxy.client.hold(digest, content)
  const read = async (authorization: string, range: string) => {
    const answer = await proxy!.ask(blobPath, { headers: { authorization, range } })
    return { status: answer.statusCode, bytes: (await answer.body.arrayBuffer()).byteLength }
  }
  return { read, lines: () => proxy!.registry.requests.map(({ line }) => line.split(' ')[0]) }
}

describe('the registry’s word about a caller', () => {
  test('is asked for once, however many ranges of the blob it reads', async () => {
    const { read, lines } = await start()
    for (let at = 0; at < 20; at += 1)
      expect(await read('Bearer good', `bytes=${at}-${at}`)).toEqual({ status: 206, bytes: 1 })
    expect(lines()).toEqual(['HEAD'])
  })

  test('is asked for once by requests that come at the same time', async () => {
    const { read, lines } = await start(() => new Promise((resolve) => setTimeout(resolve, 50)))
    const all = await Promise.all([1, 2, 3, 4].map((at) => read('Bearer good', `bytes=${at}-${at}`)))
    expect(all.map(({ status }) => status)).toEqual([206, 206, 206, 206])
    expect(lines()).toEqual(['HEAD'])
  })

  test('counts for no other credential: each is shown to the registry, and refused by it', async () => {
    const { read, lines } = await start()
    await read('Bearer good', 'bytes=0-0')
    expect((await read('Bearer better', 'bytes=0-0')).status).toBe(206)
    expect((await read('Bearer forged', 'bytes=0-0')).status).toBe(401)
    expect((await read('Bearer forged', 'bytes=0-0')).status).toBe(401)
    // The first refusal of HEAD is checked once with a GET.
    expect(lines()).toEqual(['HEAD', 'HEAD', 'HEAD', 'GET', 'GET', 'HEAD', 'GET'])
  })
})

const HOST = 'registry.example' as RegistryHost
const get = (changes: Partial<BlobGet> = {}): BlobGet => ({
  repository: 'team/app' as Repository,
  digest,
  credential: { scheme: 'bearer', token: 'opaque' },
  authorization: 'Bearer opaque',
  query: '',
  ...changes,
})

test('an acceptance ends after its minute, and with the token', () => {
  let nowMs = Date.now()
  const accepted = new AcceptedRequests(() => nowMs)
  const token = makeSigner('ES256').sign(
    pullClaims('team/app', { iat: nowMs / 1000, nbf: nowMs / 1000 - 1, exp: Math.floor(nowMs / 1000) + 20 }),
  )
  const short = get({ credential: { scheme: 'bearer', token }, authorization: `Bearer ${token}` })
  accepted.note(HOST, short, { bytes: 1 })
  accepted.note(HOST, get(), { bytes: 2 })
  nowMs += 19_000
  expect(accepted.find(HOST, short)).toMatchObject({ bytes: 1 })
  nowMs += 2_000
  expect(accepted.find(HOST, short)).toBeUndefined()
  expect(accepted.find(HOST, get())).toMatchObject({ bytes: 2 })
  nowMs += ACCEPTED_REQUEST_MS
  expect(accepted.find(HOST, get())).toBeUndefined()
})

test('an acceptance is for one registry, repository, blob and header', () => {
  const accepted = new AcceptedRequests()
  accepted.note(HOST, get(), { bytes: 2 })
  const others = [
    get({ repository: 'team/other' as Repository }),
    get({ digest: `sha256:${'0'.repeat(64)}` as Digest }),
    get({ authorization: undefined }),
    get({ authorization: 'bearer opaque' }),
  ]
  for (const other of others) expect(accepted.find(HOST, other)).toBeUndefined()
  expect(accepted.find('other.example' as RegistryHost, get())).toBeUndefined()
})

test('acceptances are bounded: the oldest is forgotten', () => {
  const accepted = new AcceptedRequests()
  for (let at = 0; at <= ACCEPTED_REQUESTS_MAX; at += 1)
    accepted.note(HOST, get({ authorization: `Bearer ${at}` }), { bytes: at })
  expect(accepted.find(HOST, get({ authorization: 'Bearer 0' }))).toBeUndefined()
  expect(accepted.find(HOST, get({ authorization: 'Bearer 1' }))).toBeDefined()
})

test('a shared asking goes on while somebody waits, and ends with the last one', async () => {
  const accepted = new AcceptedRequests()
  let asked: AbortSignal | undefined
  const ask = (signal: AbortSignal) => {
    asked = signal
    return new Promise<object>(() => undefined)
  }
  const [one, other] = [new AbortController(), new AbortController()]
  const waits = [one, other].map(({ signal }) => accepted.share(HOST, get(), { ask, signal }))
  one.abort(new Error('gone'))
  await expect(waits[0]).rejects.toThrow('gone')
  expect(asked?.aborted).toBe(false)
  other.abort(new Error('gone too'))
  await expect(waits[1]).rejects.toThrow('gone too')
  expect(asked?.aborted).toBe(true)
})
