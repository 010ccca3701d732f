import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** Listens with the shortest queue, and stops: when the queue is full, the kernel drops what comes, as a firewall does. */
const PROGRAM = `
const server = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
  process.stdout.write(String(server.address().port) + '\\n', () => process.kill(process.pid, 'SIGSTOP'))
})`
/** More than the queue holds. */
const FILLING = 8

export interface SilentPort {
  port: number
  close(): Promise<void>
}

/** A port that answers nothing, not even that it is closed. */
export async function silentPort(): Promise<SilentPort> {
  const child: ChildProcess = spawn(process.execPath, ['-e', PROGRAM], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [text] = await once(child.stdout!, 'data')
  const port = Number(String(text))
  const filling: Socket[] = Array.from({ length: FILLING }, () =>
    connect(port, '127.0.0.1').on('error', () => undefined),
  )
  await new Promise((resolve) => setTimeout(resolve, 200))
  return {
    port,
    async close() {
      for (const socket of filling) socket.destroy()
      child.kill('SIGKILL')
      await once(child, 'exit')
    },
  }
}
