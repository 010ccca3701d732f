import { X509Certificate } from 'node:crypto'
import { connect, type TLSSocket } from 'node:tls'
import type { Logger } from 'pino'
import { linkNameOf } from '../../core/certificate-claims.ts'
import { linkHolderOf } from '../../core/link-certificate.ts'
import type { NodeId } from '../../core/metainfo.ts'
import { networkOf } from '../../core/network.ts'
import type { DialOutcome } from '../../core/reach-api.ts'
import { TooManyRequestsError } from '../errors.ts'
import type { Endpoint } from '../handout/port-retries.ts'
import { RequestLimits } from '../request-limits.ts'

/** Calls of one node that make the tracker dial it back: a person who mends a firewall asks again and again. */
const DIAL_BACK_BOUNDS = { requestsPerSecondMax: 1 / 10, requestsBurstMax: 6, requestsConcurrentMax: 1 }
/** The same of all nodes of one network, as ids cost nothing: one network leaves room for others. */
const DIAL_BACK_NETWORK_BOUNDS = { requestsPerSecondMax: 1, requestsBurstMax: 24, requestsConcurrentMax: 4 }
/** Connections back to nodes that ask for one, at the same time. */
export const DIAL_BACKS_AT_ONCE_MAX = 16
/** Bound of one dial back, with its handshake. */
export const DIAL_BACK_MS_MAX = 4_000
/** How soon a caller may ask again if too many are being dialled. */
const RETRY_SECONDS = 5

interface Dialled {
  node: NodeId
  /** PEM. */
  authorities: string[]
}

/**
 * Dials nodes that ask whether they are reached. Invariant: it connects to the source address of the caller's own connection
 * and the port that it lists, nowhere else; it shows no certificate and sends nothing after the handshake.
 */
export class DialBacks {
  readonly #limits: RequestLimits
  readonly #ofNetworks: RequestLimits
  #running = 0

  constructor(log: Logger) {
    this.#limits = new RequestLimits(DIAL_BACK_BOUNDS, log)
    this.#ofNetworks = new RequestLimits(DIAL_BACK_NETWORK_BOUNDS, log)
  }

  /**
   * Counts a call for the whole time that it takes.
   * @throws TooManyRequestsError
   */
  async during<Answer>(
    { id, address }: { id: string; address: string },
    nowMs: number,
    act: () => Promise<Answer>,
  ): Promise<Answer> {
    if (this.#running >= DIAL_BACKS_AT_ONCE_MAX) throw new TooManyRequestsError(RETRY_SECONDS)
    const leave = this.#limits.enter(id, nowMs)
    try {
      const leaveNetwork = this.#ofNetworks.enter(`dials back to ${networkOf(address)}`, nowMs)
      this.#running += 1
      try {
        return await act()
      } finally {
        this.#running -= 1
        leaveNetwork()
      }
    } finally {
      leave()
    }
  }
}

/** Whether that node answers there, as another node of its cluster would find out. Never rejects. */
export function dialBack({ address, port }: Endpoint, { node, authorities }: Dialled): Promise<DialOutcome> {
  return new Promise((resolve) => {
    let isConnected = false
    const socket: TLSSocket = connect({
      host: address,
      port,
      servername: linkNameOf(node),
      ca: authorities,
      minVersion: 'TLSv1.3',
      rejectUnauthorized: true,
      checkServerIdentity: (_name, { raw }) => refusalOf(raw, node),
    })
    const ended = (outcome: DialOutcome) => {
      clearTimeout(timer)
      socket.destroy()
      resolve(outcome)
    }
    const failed = () => ended(isConnected ? 'foreign' : 'silent')
    const timer = setTimeout(failed, DIAL_BACK_MS_MAX)
    timer.unref()
    socket.once('connect', () => {
      isConnected = true
    })
    socket.once('secureConnect', () => ended('reached'))
    socket.once('close', failed)
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') ended('refused')
      else failed()
    })
  })
}

function refusalOf(der: Buffer, node: NodeId): Error | undefined {
  try {
    return linkHolderOf(new X509Certificate(der)).node === node ? undefined : new Error('another node')
  } catch (error) {
    return error as Error
  }
}
