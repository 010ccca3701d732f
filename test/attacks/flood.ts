import { Agent, request } from 'node:https'
import { connect, type Socket } from 'node:net'
import { makeKey } from '../../client/membership/node-identity.ts'

/** An attacker of the tracker as a process of its own, so that the honest ones are slowed by the tracker alone. */

export interface Flood {
  port: number
  ms: number
  /** Requests of this many at a time, each with a body of so many values; or connections that say nothing. */
  kind: 'bodies' | 'joins' | 'silent'
  atOnce: number
  path?: string
  bytes?: number
  joinToken?: string
  /** Absent: a stranger. */
  identity?: { cert: string; key: string }
}

/** A connection that was ended is opened again after so long. */
const REOPEN_MS = 20

async function sendRequests({ port, path, atOnce, identity, ms }: Flood, bodyOf: () => Buffer) {
  // It verifies nothing about whom it robs.
  const agent = new Agent({ keepAlive: true, maxSockets: atOnce, rejectUnauthorized: false, ...identity })
  const answers: Record<string, number> = {}
  const count = (what: string) => {
    answers[what] = (answers[what] ?? 0) + 1
  }
  const one = () =>
    new Promise<void>((resolve) => {
      const body = bodyOf()
      const headers = { 'content-type': 'application/json', 'content-length': body.length }
      const asked = request({ host: '127.0.0.1', port, path, method: 'POST', agent, headers }, (answer) => {
        count(String(answer.statusCode))
        answer.resume().on('close', resolve)
      })
      asked.on('error', ({ message }) => {
        count(message)
        setTimeout(resolve, REOPEN_MS)
      })
      asked.end(body)
    })
  const endMs = Date.now() + ms
  const ask = async () => {
    while (Date.now() < endMs) await one()
  }
  await Promise.all(Array.from({ length: atOnce }, ask))
  return answers
}

async function holdSilent({ port, atOnce, ms }: Flood) {
  const held = new Set<Socket>()
  let opened = 0
  let isOver = false
  const open = () => {
    if (isOver) return
    const socket = connect(port, '127.0.0.1')
    held.add(socket)
    opened += 1
    socket.on('error', () => undefined)
    socket.once('close', () => {
      held.delete(socket)
      setTimeout(open, REOPEN_MS)
    })
  }
  for (let at = 0; at < atOnce; at += 1) {
    open()
    if (at % 400 === 0) await new Promise((resolve) => setTimeout(resolve, REOPEN_MS))
  }
  await new Promise((resolve) => setTimeout(resolve, ms))
  isOver = true
  for (const socket of held) socket.destroy()
  return { opened }
}

function joinOf(joinToken: string): Buffer {
  return Buffer.from(JSON.stringify({ joinToken, publicKey: makeKey().spki.toString('base64url') }))
}

function run(flood: Flood): Promise<Record<string, number>> {
  if (flood.kind === 'silent') return holdSilent(flood)
  if (flood.kind === 'joins') return sendRequests(flood, () => joinOf(flood.joinToken!))
  const body = Buffer.from(`[${'[],'.repeat(Math.floor(flood.bytes! / 3) - 1)}0]`)
  return sendRequests(flood, () => body)
}

const answers = await run(JSON.parse(process.argv[2]!))
process.stdout.write(JSON.stringify(answers))
process.exit(0)
