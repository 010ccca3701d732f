import { connect, createServer } from 'node:net'

/**
 * One TCP flow, to measure a link. `serve <port>` sends without end to any caller. `measure <host> <port> <bytes>`
 * reads this many and prints bytes per second, counted after the shaper's burst is spent.
 */

const CHUNK = Buffer.alloc(64 * 1024)
/** More than a shaper lets through at once: 256 kB at either end of the link. */
const SKIPPED_BYTES = 1024 * 1024
const SILENCE_MS = 5_000

const [role, ...rest] = process.argv.slice(2)
if (role === 'serve') serve(Number(rest[0]))
else measure(rest[0]!, Number(rest[1]), Number(rest[2]))

function serve(port: number): void {
  createServer((socket) => {
    const fill = () => {
      while (!socket.destroyed && socket.write(CHUNK)) {}
    }
    socket.on('error', () => {}).on('drain', fill)
    fill()
  }).listen(port)
}

function measure(host: string, port: number, bytes: number): void {
  const socket = connect({ host, port, timeout: SILENCE_MS })
  let got = 0
  let counted: { atMs: number; from: number } | undefined
  socket.on('data', ({ length }) => {
    got += length
    if (counted === undefined && got >= SKIPPED_BYTES) counted = { atMs: performance.now(), from: got }
    if (counted === undefined || got < SKIPPED_BYTES + bytes) return
    process.stdout.write(`${(got - counted.from) / ((performance.now() - counted.atMs) / 1000)}\n`)
    socket.destroy()
  })
  socket.on('error', fail).on('timeout', () => fail(new Error('the link is silent')))
}

function fail(error: Error): never {
  process.stderr.write(`${error.message}\n`)
  process.exit(1)
}
