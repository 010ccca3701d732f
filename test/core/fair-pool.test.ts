import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { type Dispatcher, Pool } from 'undici'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { fairly, POOL_WAITING_MAX, UNREAD_MS_MAX } from '../../core/fair-pool.ts'

const MEBIBYTE = 1024 * 1024
const PLACES = 4
let server: Server
let pool: Pool
let shared: Dispatcher
/** Requests that the server is answering. */
let open: Set<ServerResponse>

async function start(bounds: { waitMs?: number; silentMs?: number } = {}, door = doorOf()): Promise<void> {
  const answering = new Set<ServerResponse>()
  open = answering
  server = createServer((request, response) => {
    answering.add(response)
    response.once('close', () => answering.delete(response))
    door(request, response)
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  pool = new Pool(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, { connections: PLACES })
  shared = pool.compose(fairly({ placesMax: PLACES, waitMs: 10_000, silentMs: 60_000, ...bounds }))
}

afterEach(async () => {
  if (!server?.listening) return
  await pool.destroy()
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})

/** `/large` has 64 MiB, `/silent` has no answer, everything else a word. */
function doorOf(): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    if (request.url === '/large') {
      const body = Array.from({ length: 64 }, () => Buffer.alloc(MEBIBYTE))
      Readable.from(body)
        .on('error', () => undefined)
        .pipe(response)
    } else if (request.url !== '/silent') request.resume().on('end', () => response.end('a word'))
  }
}

const ask = (path: string, more: Partial<Dispatcher.RequestOptions> = {}) =>
  shared.request({ method: 'GET', path, ...more })

/** Takes every place with answers that nobody reads. @returns the code with which each of them ends, so far */
async function holdAll(): Promise<string[]> {
  const ends: string[] = []
  for (let count = 0; count < PLACES; count++) {
    const { body } = await ask('/large')
    body.on('error', (error: Error & { code?: string }) => ends.push(error.code ?? error.message))
  }
  return ends
}

const wordOf = async (answer: Promise<Dispatcher.ResponseData>) => (await answer).body.text()
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

describe('while all connections are held by answers that nobody reads', () => {
  test('a request gets one within about a second, and one answer only is cut for it', async () => {
    await start()
    const ends = await holdAll()
    const startedMs = performance.now()
    expect(await wordOf(ask('/word'))).toBe('a word')
    expect(performance.now() - startedMs).toBeLessThan(UNREAD_MS_MAX + 1500)
    expect(ends).toEqual(['TRANSFER_STALLED'])
  })

  test('nothing is cut as long as nobody waits', async () => {
    await start()
    const ends = await holdAll()
    await pause(UNREAD_MS_MAX + 500)
    expect(ends).toEqual([])
    expect(open.size).toBe(PLACES)
  })
})

test.each([
  ['a few bytes now and then do not keep', 4096, true],
  ['a reader that gets on keeps', 64 * 1024, false],
])('%s its connection while somebody waits', (_name, bytes, isCut) => {
  vi.useFakeTimers()
  try {
    const begun: Dispatcher.DispatchHandler[] = []
    const dispatch = fairly({ placesMax: 1, waitMs: 10_000, silentMs: 60_000 })((_options, handler) => {
      begun.push(handler)
      return true
    })
    const controller = { paused: true, abort: vi.fn() } as unknown as Dispatcher.DispatchController
    dispatch({ method: 'GET', path: '/large' }, {})
    dispatch({ method: 'GET', path: '/word' }, {})
    expect(begun).toHaveLength(1)
    begun[0]!.onRequestStart?.(controller, {})
    begun[0]!.onResponseStart?.(controller, 200, {})
    for (let step = 0; step < 20; step++) {
      begun[0]!.onResponseData?.(controller, Buffer.alloc(bytes))
      vi.advanceTimersByTime(100)
    }
    expect(vi.mocked(controller.abort).mock.calls.length > 0).toBe(isCut)
  } finally {
    vi.useRealTimers()
  }
})

test('answers that are read are not cut, although a request waits for longer than its readers may pause', async () => {
  await start({ waitMs: UNREAD_MS_MAX + 1000 })
  let isRead = true
  const reading = Array.from({ length: PLACES }, async () => {
    const { body } = await ask('/large')
    // Some megabytes a second, with pauses in which the answer waits.
    for await (const _ of body) {
      await pause(4)
      if (!isRead) return
    }
  })
  await expect.poll(() => open.size).toBe(PLACES)
  await expect(ask('/word')).rejects.toMatchObject({ code: 'REGISTRY_BUSY' })
  isRead = false
  await Promise.all(reading)
})

describe('a request that waits', () => {
  test('ends with REGISTRY_BUSY after its time, unsent', async () => {
    await start({ waitMs: 300 })
    for (let count = 0; count < PLACES; count++) ask('/silent').catch(() => undefined)
    await expect.poll(() => open.size).toBe(PLACES)
    await expect(ask('/word')).rejects.toMatchObject({ code: 'REGISTRY_BUSY' })
    expect(open.size).toBe(PLACES)
  })

  test('goes when its caller gives up, at once', async () => {
    await start()
    for (let count = 0; count < PLACES; count++) ask('/silent').catch(() => undefined)
    await expect.poll(() => open.size).toBe(PLACES)
    const startedMs = performance.now()
    const signal = AbortSignal.timeout(100)
    await expect(ask('/word', { signal })).rejects.toMatchObject({ code: 'REGISTRY_BUSY' })
    expect(performance.now() - startedMs).toBeLessThan(2000)
  })

  test('is served in its turn', async () => {
    await start()
    const words = await Promise.all(Array.from({ length: 40 }, () => wordOf(ask('/word'))))
    expect(words).toEqual(Array(40).fill('a word'))
  })

  test('is one of a bounded number; when the pool ends all of them do', async () => {
    await start()
    const codes: string[] = []
    const asked = Array.from({ length: PLACES + POOL_WAITING_MAX + 3 }, () =>
      ask('/silent').catch((error) => void codes.push(error.code)),
    )
    await expect.poll(() => codes).toEqual(Array(3).fill('REGISTRY_BUSY'))
    await pool.destroy()
    await Promise.all(asked)
    expect(codes).toHaveLength(asked.length)
  })

  test('gets the place of a registry that is silent for too long', async () => {
    await start({ silentMs: 400 })
    const ends = Array.from({ length: PLACES }, () => ask('/silent').catch((error) => error.code))
    await expect.poll(() => open.size).toBe(PLACES)
    expect(await wordOf(ask('/word'))).toBe('a word')
    expect(await Promise.race(ends)).toBe('TRANSFER_STALLED')
  })

  test('gets the place of a body that its sender holds back, not of one that was sent and is being taken in', async () => {
    await start({ silentMs: 400 })
    const sent = ask('/silent', { method: 'PUT', body: Readable.from([Buffer.from('all of it')]) })
    sent.catch(() => undefined)
    const ends = Array.from({ length: PLACES - 1 }, () => {
      const body = new Readable({ read() {} })
      body.push('a beginning')
      return ask('/silent', { method: 'PUT', body }).catch((error) => error.code)
    })
    await expect.poll(() => open.size).toBe(PLACES)
    expect(await wordOf(ask('/word'))).toBe('a word')
    expect(await Promise.race([...ends, sent])).toBe('TRANSFER_STALLED')
    expect(open.size).toBe(PLACES - 1)
  })
})
