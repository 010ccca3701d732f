import { setImmediate as soon } from 'node:timers/promises'
import TrackerClient from 'bittorrent-tracker/client'
import { Agent } from 'undici'
import { answerLines } from '../measure/answer-lines.ts'

/** npm's `bittorrent-tracker` client: an independent caller of announce (BEP 3, 23) and scrape (BEP 48). */

interface Call {
  action: 'start' | 'complete' | 'stop' | 'scrape'
  announceUrl: string
  infoHash: string
  /** Where peers reach the client. */
  port: number
  /** Bytes that it lacks. */
  left: number
  /** PEM: trusted authorities and, for mutual TLS, its own certificate and key. */
  tls: { ca: string; cert?: string; key?: string }
}

/** The client's view of the answers; `complaints` are errors, its own and the tracker's. */
export interface Understood {
  answers: {
    complete: number
    incomplete: number
    downloaded?: number
    interval?: number
    infoHash: string
  }[]
  peers: string[]
  complaints: string[]
}

const PEER_ID = Buffer.from('-XX0001-000000000000').toString('hex')

async function call({ action, announceUrl, infoHash, port, left, tls }: Call): Promise<Understood> {
  const agent = new Agent({ connect: tls })
  const proxyOpts = { httpsAgent: agent }
  const client = new TrackerClient({ infoHash, peerId: PEER_ID, announce: announceUrl, port, proxyOpts })
  const understood: Understood = { answers: [], peers: [], complaints: [] }
  const { promise: heard, resolve: hear } = Promise.withResolvers<void>()
  for (const event of ['update', 'scrape']) {
    client.on(event, ({ complete, incomplete, downloaded, interval, infoHash }) => {
      understood.answers.push({ complete, incomplete, downloaded, interval, infoHash: onceInHex(infoHash) })
      hear()
    })
  }
  for (const event of ['warning', 'error']) {
    client.on(event, (error: Error) => {
      understood.complaints.push(String(error.cause ?? error.message))
      hear()
    })
  }
  client.on('peer', (address: string) => understood.peers.push(address))
  if (action === 'scrape') client.scrape()
  else client[action]({ left })
  await heard
  // It reports one answer in several events, one after the other.
  await soon()
  await new Promise<void>((resolve) => client.destroy(resolve))
  await agent.destroy()
  return understood
}

/** Its scrape events encode a hash that is no UTF-8 as hex twice: 40 bytes. */
function onceInHex(infoHash: string): string {
  return infoHash.length === 80 ? Buffer.from(infoHash, 'hex').toString() : infoHash
}

await answerLines({ call }, async () => {})
