import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { ensureDataDir } from '../core/config.ts'
import { lockDataDir } from '../core/data-lock.ts'
import { Defects } from '../core/defects.ts'
import { ShoalError } from '../core/errors.ts'
import { createMetrics } from '../core/metrics.ts'
import { UNLOCK_SOCKET } from '../core/tracker-sockets.ts'
import { AddressRanges } from './address-ranges.ts'
import { listenLocally } from './admin/local-socket.ts'
import { listen, makeHttpsListener } from './api/https-listener.ts'
import { openSealer } from './authority/sealer.ts'
import { nodeTlsFiles, type TrackerConfig } from './config.ts'
import { RefusedError, UnlockKeyError } from './errors.ts'
import { trackerMetrics } from './metrics.ts'
import { openStore } from './store/open-store.ts'
import type { Store } from './store/store.ts'

/**
 * A tracker that was started without its unlock key (like Docker Swarm's autolock). It answers every node with
 * TRACKER_LOCKED, and takes the key through a socket in its data folder, which only its own user can open. It has no
 * admin API yet.
 */

interface Running {
  readonly defects: Defects
  /** Rejects if the key was right but the tracker could not start. */
  readonly failed?: Promise<never>
  close(): Promise<void>
}

/** A key is 54 characters. */
const BODY_BYTES_MAX = 1024
/** Short, because the request comes from the same machine. */
const BODY_PATIENCE_MS = 10_000

/**
 * @param start starts the tracker itself, once the key is known to be right
 * @throws UnlockKeyError for a new store, which has no key yet; ConfigError, StoreUnusableError, ListenFailedError
 */
export async function startLocked(
  config: TrackerConfig,
  log: Logger,
  start: (unlockKey: string) => Promise<Running>,
): Promise<Running> {
  const locked = new AsyncDisposableStack()
  let tracker: Running | undefined
  const path = join(config.dataDir, UNLOCK_SOCKET)
  const socket = createServer((request, response) => void answer(request, response))
  const metrics = trackerMetrics(createMetrics({ process: false }).registry, () => 0)
  const defects = new Defects({ log, count: metrics.countDefect })
  const failed = Promise.withResolvers<never>()
  failed.promise.catch(() => undefined)
  let turn: Promise<unknown> = Promise.resolve()

  async function unlock(unlockKey: string): Promise<void> {
    if (tracker !== undefined) return
    await withStore(config, (store) => openSealer(store, unlockKey))
    await locked.disposeAsync()
    tracker = await start(unlockKey)
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const unlockKey = await bodyOf(request)
      turn = turn.catch(() => undefined).then(() => unlock(unlockKey))
      await turn
      send(response, 200, {})
      socket.close()
    } catch (error) {
      const { code, message } = error instanceof ShoalError ? error : { code: 'INTERNAL', message: 'failed' }
      log.warn({ err: error, code }, 'the tracker was not unlocked')
      send(response, 403, { error: { code, message } })
      // The same as a failure of an ordinary start.
      if (locked.disposed) failed.reject(error)
    }
  }

  try {
    ensureDataDir(config.dataDir)
    locked.defer(lockDataDir(config.dataDir))
    await withStore(config, refuseNewStore)
    const tls = { ...nodeTlsFiles(config).current, authorityPems: [] }
    // Members and strangers look the same here, so every connection makes room for the next.
    const nodeApi = makeHttpsListener(
      tls,
      { log, metrics },
      { memberOn: async () => undefined, balancers: new AddressRanges(config.balancers) },
    )
    nodeApi.app.addHook('onRequest', async (_request, reply) => {
      reply.header('connection', 'close')
      throw new RefusedError('TRACKER_LOCKED', 'the tracker waits for its unlock key')
    })
    locked.defer(() => nodeApi.app.close())
    await listen(nodeApi, 'listen', config.listen)
    await listenLocally(socket, path)
  } catch (error) {
    await locked.disposeAsync()
    throw error
  }
  log.warn(
    { dataDir: config.dataDir },
    'the tracker is locked: give it the unlock key with shoal tracker unlock',
  )
  return {
    failed: failed.promise,
    get defects() {
      return tracker?.defects ?? defects
    },
    close: async () => {
      socket.close()
      socket.closeAllConnections()
      await turn.catch(() => undefined)
      await (tracker === undefined ? locked.disposeAsync() : tracker.close())
    },
  }
}

async function refuseNewStore(store: Store): Promise<void> {
  if ((await store.sealedDataKey()) !== undefined) return
  throw new UnlockKeyError('this tracker is new and has no unlock key yet', {
    hint: 'Start it once with --unlock-key-file; `shoal certs unlock-key` makes the key.',
  })
}

async function withStore(config: TrackerConfig, use: (store: Store) => Promise<unknown>) {
  const store = await openStore(config)
  try {
    await use(store)
  } finally {
    await store.close()
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  request.setTimeout(BODY_PATIENCE_MS, () => request.destroy())
  let text = ''
  for await (const chunk of request) {
    text += chunk
    if (text.length > BODY_BYTES_MAX) throw new RefusedError('BODY_TOO_LARGE', 'this is not an unlock key')
  }
  return text.trim()
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' })
  response.end(JSON.stringify(body))
}
