import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { createServer as createTlsServer } from 'node:tls'
import { describe, expect, it } from 'vitest'
import { HttpConnection, postRequest, splitAnswer } from '../../bench/tracker/http-connection.ts'
import { openLoop } from '../../bench/tracker/open-loop.ts'
import { parseTrackerOptions } from '../../bench/tracker/options.ts'
import { percentileOf, renderTracker, type Sample, summariseSamples } from '../../bench/tracker/report.ts'
import { makeAuthority } from '../../core/issue-certificate.ts'
import { issueForLocalhost } from '../../lab/machine/localhost-certificate.ts'

const sample = (operation: Sample['operation'], answers: number, p99Ms = 10): Sample => {
  return { operation, answers, seconds: 2, p99Ms, bytes: 0 }
}

describe('the flags', () => {
  it('measure for eight seconds, three times, when none is given', () => {
    expect(parseTrackerOptions([])).toMatchObject({ seconds: 8, rounds: 3, connections: 32, isJson: false })
  })

  it.each([
    ['--seconds', '0'],
    ['--rounds', 'x'],
    ['--connections', '11001'],
    ['--unknown'],
    ['--store', 'mysql'],
    ['--cores', '0'],
    ['--trackers', '2'],
  ])('are refused when they are wrong: %s %s', (...argv) => {
    expect(() => parseTrackerOptions(argv)).toThrow(expect.objectContaining({ code: 'USAGE' }))
  })
})

describe('what is measured', () => {
  it('is one tracker of a quarter of a core by --trackers, several with PostgreSQL, and many nodes by --nodes', () => {
    expect(parseTrackerOptions(['--trackers', '1'])).toMatchObject({
      mode: 'capped',
      trackers: [1],
      cores: 0.25,
    })
    const two = ['--store', 'postgres', '--trackers', '1,2', '--cores', '0.5']
    expect(parseTrackerOptions(two)).toMatchObject({ mode: 'capped', trackers: [1, 2], cores: 0.5 })
    const many = { mode: 'fleet', connections: 10_000, blobs: 8, pullsPerSecond: 200 }
    expect(parseTrackerOptions(['--nodes', '10000'])).toMatchObject(many)
    expect(() => parseTrackerOptions(['--nodes', '9', '--trackers', '1'])).toThrow()
  })
})

describe('the open loop', () => {
  it('counts from the intended time: one slow answer delays nobody else, and hides no wait', async () => {
    let free = Promise.resolve()
    let sent = 0
    // A server that answers one request after the other, the first after 200 ms.
    const send = () => {
      sent += 1
      const ms = sent === 1 ? 200 : 0
      free = free.then(() => delay(ms))
      return free
    }
    const result = await openLoop({ perSecond: 100, seconds: 0.4, send, random: () => 1 - Math.exp(-1) })
    expect(result).toMatchObject({ sent: 39, answered: 39 })
    // A closed loop would have sent the second request after the first answer, and seen one slow answer of 39.
    expect(result.p50Ms).toBeGreaterThan(2)
    expect(result.p99Ms).toBeGreaterThan(180)
  })

  it('fails with a request that failed', async () => {
    const failing = openLoop({ perSecond: 100, seconds: 0.1, send: () => Promise.reject(new Error('no')) })
    await expect(failing).rejects.toThrow('no')
    let sent = 0
    const failingOnce = () => (sent++ === 0 ? Promise.reject(new Error('once')) : delay(0))
    await expect(openLoop({ perSecond: 100, seconds: 0.1, send: failingOnce })).rejects.toThrow('once')
  })
})

describe('the report', () => {
  it('tells the median of each operation', () => {
    const samples = [
      sample('grant', 2000, 30),
      sample('heartbeat', 12_000),
      sample('grant', 4000, 10),
      sample('grant', 9000, 20),
    ]
    expect(summariseSamples(samples)).toEqual([
      { operation: 'grant', perSecond: 2000, p99Ms: 20 },
      { operation: 'heartbeat', perSecond: 6000, p99Ms: 10 },
    ])
  })

  it('says which bars were missed', () => {
    const runs = summariseSamples([sample('grant', 1998), sample('heartbeat', 10_000)])
    const machine = {
      cpu: 'A processor',
      cores: 2,
      memoryMib: 4096,
      kernel: '6.1',
      loadBefore: 0.1,
      versions: { node: '24.0.0' },
      measurement: { seconds: 2, rounds: 1, connections: 32, blobs: 1 },
    }
    const text = renderTracker({ machine, runs })
    expect(text).toContain('| grant | 999 | 10.0 | 1500 | missed |')
    expect(text).toContain('| heartbeat | 5000 | 10.0 | 5000 | met |')
  })

  it('takes the 99th percentile by nearest rank', () => {
    const upTo = (count: number) => Array.from({ length: count }, (_, index) => count - index)
    expect(percentileOf(upTo(100), 0.99)).toBe(99)
    expect(percentileOf(upTo(1000), 0.99)).toBe(990)
    expect(percentileOf([7], 0.99)).toBe(7)
    expect(percentileOf([], 0.99)).toBe(0)
  })
})

describe('the load generator', () => {
  it('finds the answer once all of it has arrived', () => {
    const answer = Buffer.from('HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\nX: y\r\n\r\nfour')
    for (let bytes = 0; bytes < answer.length; bytes += 1) {
      expect(splitAnswer(answer.subarray(0, bytes))).toBeUndefined()
    }
    expect(splitAnswer(answer)).toEqual({ status: 403, body: Buffer.from('four') })
  })

  it('refuses an answer that does not tell its length', () => {
    const answer = Buffer.from('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
    expect(() => splitAnswer(answer)).toThrow(expect.objectContaining({ code: 'BENCH_PEER' }))
  })

  it('counts bytes, not characters, in the length of a request', () => {
    const request = postRequest('/v1/pulls', { name: 'é' }).toString()
    expect(request).toContain('content-length: 13\r\n')
    expect(request.endsWith('\r\n\r\n{"name":"é"}')).toBe(true)
  })
})

describe("a node's connection", () => {
  const PATIENCE_MS = 200
  const request = postRequest('/v1/heartbeat', {})

  /** Connects to a server that does `serve` with each connection. */
  async function opened(serve: (socket: Socket) => void, isTls = true) {
    const authority = await makeAuthority({ commonName: 'benchmark', validForSeconds: 3600 })
    const leaf = await issueForLocalhost(authority)
    const stack = new AsyncDisposableStack()
    const held: Socket[] = []
    const take = (socket: Socket) => {
      held.push(socket.on('error', () => undefined))
      serve(socket)
    }
    const server: Server = isTls
      ? createTlsServer({ cert: leaf.certificatePem, key: leaf.privateKeyPem }, take)
      : createServer(take)
    await once(server.listen(0, '127.0.0.1'), 'listening')
    stack.defer(() => {
      for (const socket of held) socket.destroy()
      server.close()
    })
    const { port } = server.address() as AddressInfo
    const target = { host: '127.0.0.1', port, servername: 'localhost', ca: authority.certificatePem }
    const connection = HttpConnection.open(target, PATIENCE_MS)
    return Object.assign(stack, { connection })
  }

  it('fails the next request when the tracker has closed it meanwhile', async () => {
    await using it = await opened((socket) => socket.end())
    const connection = await it.connection
    await delay(50)
    await expect(connection.exchange(request)).rejects.toThrow('closed')
    await expect(connection.exchange(request)).rejects.toThrow('closed')
  })

  it('fails the next request with the answer that nobody asked for', async () => {
    const answer = 'HTTP/1.1 408 Client Error\r\nContent-Length: 4\r\n\r\nlate'
    await using it = await opened((socket) => socket.end(answer))
    const connection = await it.connection
    await delay(50)
    await expect(connection.exchange(request)).rejects.toThrow('408 unasked: late')
  })

  it('fails a request without an answer, also after it was idle for longer than that', async () => {
    await using it = await opened((socket) => socket.resume())
    const connection = await it.connection
    await delay(2 * PATIENCE_MS)
    await expect(connection.exchange(request)).rejects.toThrow('does not answer')
  })

  it('fails when nobody takes it', async () => {
    await using it = await opened((socket) => socket.resume(), false)
    await expect(it.connection).rejects.toThrow('does not answer')
  })
})
