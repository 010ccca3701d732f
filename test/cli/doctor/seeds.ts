import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import type { EditRecord } from '../../../cli/attach/journal.ts'
import { Control } from '../../../guard/control.ts'
import { alwaysStatus, type Door, startTestRegistry, type TestRegistry } from '../../core/test-registry.ts'
import type { World } from './world.ts'

/** What seeds of faults are made of. Each is closed when its test ends. */
export class Seeds {
  readonly world: World
  readonly #after: (() => unknown)[] = []

  constructor(world: World) {
    this.world = world
  }

  /** Runs when the test has ended, the last first. */
  after(act: () => unknown): void {
    this.#after.push(act)
  }

  async close(): Promise<void> {
    for (const act of this.#after.splice(0).reverse()) await act()
  }

  /** @returns the port that somebody listens at who does this with each connection */
  async listens(server: Server, { host = '127.0.0.1', port = 0 } = {}): Promise<number> {
    const sockets = new Set<{ destroy(): void }>()
    server.on('connection', (socket) => {
      sockets.add(socket)
      socket.on('error', () => undefined)
    })
    server.listen(port, host)
    await once(server, 'listening')
    this.after(() => {
      server.close()
      for (const socket of sockets) socket.destroy()
    })
    return (server.address() as AddressInfo).port
  }

  /** A port at which nobody listens. */
  async closedPort(): Promise<number> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    server.close()
    await once(server, 'close')
    return port
  }

  async httpPort(status: number): Promise<number> {
    return this.listens(
      createHttpServer((_request, response) => response.writeHead(status).end()).on(
        'connect',
        (_request, socket) => socket.end(`HTTP/1.1 ${status} no\r\n\r\n`),
      ),
    )
  }

  /** A registry beside the world's own, as the doctor's settings then name both. */
  async registry(door: Door = alwaysStatus(401), tls = {}): Promise<TestRegistry> {
    const registry = await startTestRegistry(door, {}, { tls })
    this.after(() => registry.close())
    return registry
  }

  both(config: object): { settings: { registries: object[] } } {
    return { settings: { registries: [this.world.cluster.registry.config, config] } }
  }

  /** What `docker info` says. */
  docker(proxy: string, noProxy = ''): { docker: string } {
    return { docker: JSON.stringify({ HttpsProxy: proxy, NoProxy: noProxy }) }
  }

  get proxyUrl(): string {
    return `http://${this.world.settings.proxyListen}`
  }

  /** As `shoal attach` leaves it. */
  attached(name: string, changes: Record<string, unknown> = {}): void {
    const { cluster, write } = this.world
    const attachment = {
      ...{ phase: 'attached', since: new Date().toISOString(), via: 'mirror', edits: [] as EditRecord[] },
      ...{ registries: [cluster.registry.host], madeFolders: [], commands: [], restart: [] },
      ...changes,
    }
    const path = 'var/lib/shoal-attach/journal.json'
    write(path, JSON.stringify({ [name]: attachment }))
    this.after(() => write(path, '{}'))
  }

  /** A guard whose children are in these phases. @returns its control socket */
  async guard(phases: { node: string; relay: string }): Promise<string> {
    const path = join(this.world.folder, 'guard.sock')
    const control = new Control(path, { start: () => undefined, stop: () => undefined, status: () => phases })
    await control.listen()
    this.after(() => control.close())
    return path
  }
}
