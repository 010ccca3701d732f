import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { remainsOf } from '../../../lab/machine/leftovers.ts'
import { waitUntilListening } from '../../../lab/machine/listening.ts'
import type { LabHost } from '../../../lab/machine/network.ts'
import { mustSkipFor } from '../../../lab/machine/requirements.ts'
import { type LabRun, openRun } from '../../../lab/machine/run.ts'

const PORT = 9000
/** Sends as many bytes as it is asked for. */
const SERVER = `require('net').createServer(socket => {
  socket.on('error', () => {})
  socket.once('data', text => socket.end(Buffer.alloc(Number(text))))
}).listen(${PORT})`
/** Asks for so many bytes by name; prints how many came, or why none did. */
const CLIENT = `const [, host, bytes] = process.argv
const socket = require('net').connect({ host, port: ${PORT}, timeout: 1500 }, () => socket.write(bytes))
let got = 0
socket.on('data', chunk => { got += chunk.length })
socket.on('end', () => console.log(got)).on('error', error => console.log(error.code))
socket.on('timeout', () => { console.log('silence'); process.exit() })`

describe.skipIf(mustSkipFor(['linux', 'root', 'ip', 'tc', 'nsenter', 'unshare', 'setpriv']))(
  'the lab network',
  () => {
    let run: LabRun
    let server: LabHost
    let client: LabHost
    let third: LabHost

    beforeAll(async () => {
      run = await openRun()
      server = await run.network.addHost('server', ['files.shoal.test'])
      client = await run.network.addHost('client')
      third = await run.network.addHost('third')
      const { processes } = run
      const part = processes.start({ name: 'server', argv: server.command([process.execPath, '-e', SERVER]) })
      await waitUntilListening({ part, host: server, processes, ports: [PORT] })
    })
    afterAll(async () => {
      await run?.close()
      if (run) expect(remainsOf(run.id)).toEqual([])
    })

    async function fetchBytes(host: string, bytes: number, from = client): Promise<string> {
      const argv = from.command([process.execPath, '-e', CLIENT, host, String(bytes)])
      return (await run.processes.run({ argv, timeoutMs: 30_000 })).trim()
    }

    test('hosts know each other by every name', async () => {
      expect(await fetchBytes('server', 1000)).toBe('1000')
      expect(await fetchBytes(server.address, 1000)).toBe('1000')
    })

    test('a host that is cut off hears nothing, and is back when healed', async () => {
      await run.network.cut(server)
      expect(await fetchBytes('server', 1000)).toMatch(/silence|EHOSTUNREACH|ETIMEDOUT/)
      await run.network.heal(server)
      expect(await fetchBytes('server', 1000)).toBe('1000')
    })

    test('hosts that are separated hear nothing of each other, and everything of a third', async () => {
      await run.network.separate([server], [client])
      expect(await fetchBytes('server', 1000)).toBe('silence')
      expect(await fetchBytes('server', 1000, third)).toBe('1000')
      await run.network.reunite([server], [client])
      expect(await fetchBytes('server', 1000)).toBe('1000')
    })

    test('a shaped link carries its rate and no more', async () => {
      await run.network.shape(client, 40e6)
      const bytes = 8_000_000
      const startedMs = performance.now()
      expect(await fetchBytes('server', bytes)).toBe(String(bytes))
      const seconds = (performance.now() - startedMs) / 1000
      expect(seconds).toBeGreaterThan((bytes * 8) / 40e6 - 0.1)
      expect(seconds).toBeLessThan(4)
    })

    test("connections have Linux's congestion control, whatever this machine's is", async () => {
      const fetched = fetchBytes('server', 8_000_000)
      let sockets = ''
      for (let tries = 0; tries < 50 && !sockets.includes(' rto:'); tries += 1)
        sockets = await run.processes.run({
          argv: server.command(['ss', '-tinH', 'state', 'established']),
          timeoutMs: 5_000,
        })
      expect(sockets).toMatch(/^\s+cubic /m)
      await fetched
    })
  },
)
