import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { LabPartError } from '../errors.ts'
import { type LoopbackNode, OWN_PROGRAM, startClusterAround } from '../loopback/cluster.ts'
import { LabProcesses } from '../machine/processes.ts'
import { closeOnSignals } from '../machine/run.ts'
import { makeStandInClient } from '../stand-ins/client.ts'
import { startStandInRegistry } from '../stand-ins/registry.ts'

/** A small site on loopback with something to see: pulls that are over, one that runs, and a registry that does not answer. */
export interface PictureSite {
  /** What `shoal explain` and `shoal cache` are asked about. */
  image: string
  /** Environment in which `shoal …` is about the node, without flags. */
  env: Record<string, string>
  /** Resolves when a third of the image is here; the pull takes some seconds more. */
  beginSlowPull(): Promise<void>
  close(): Promise<void>
}

const MIB = 1024 ** 2
const FIRST_IMAGE = [24 * MIB, 9 * MIB]
const SECOND_IMAGE = [30 * MIB, 14 * MIB]
/** So that a pull can be looked at while it runs. */
const SLOW_BYTES_PER_SECOND = 4 * MIB
/** Of a name that leads nowhere (RFC 2606). */
const UNREACHED = 'mirror.invalid:5000'
/** How often, and how many times at most, the slow pull is looked at. */
const LOOK_MS = 100
const LOOKS_MAX = 300
const COMMAND_MS = 30_000
const SETTINGS = { trackerPatienceMs: 5_000, cacheBytesMax: 20 * 1024 ** 3 }

export async function openPictureSite(say: (line: string) => void): Promise<PictureSite> {
  const dir = mkdtempSync(join(tmpdir(), 'shoal-pictures-'))
  mkdirSync(join(dir, 'log'))
  const processes = new LabProcesses(join(dir, 'log'))
  const close = async () => {
    await processes.close()
    rmSync(dir, { recursive: true, force: true })
  }
  process.once('exit', () => {
    processes.killAll()
    rmSync(dir, { recursive: true, force: true })
  })
  closeOnSignals({ close }, say)
  try {
    say('starting the registry, the tracker and two nodes')
    const cluster = await startClusterAround({ dir, processes, program: OWN_PROGRAM }, startStandInRegistry)
    const { registry } = cluster
    const registries = [{ host: registry.host, caFile: registry.caFile }, { host: UNREACHED }]
    const other = await cluster.startNode('node1', { settings: SETTINGS })
    const shown = await cluster.startNode('node2', { settings: { ...SETTINGS, registries } })
    const pull = (node: LoopbackNode, image: Parameters<ReturnType<typeof makeStandInClient>['pull']>[0]) =>
      makeStandInClient({
        ...{ processes, account: registry.puller, registry: registry.host, dir: join(dir, node.name) },
        ...{ proxyUrl: node.proxyUrl, caFiles: [registry.caFile, node.proxyCaFile] },
      }).pull(image)
    say('pulling')
    const first = await registry.publish('v1', FIRST_IMAGE)
    await pull(other, first)
    await pull(shown, first)
    const second = await registry.publish('v2', SECOND_IMAGE)
    await pull(other, second)
    const configFile = join(dir, 'node2', 'config.json')
    return {
      image: first.name,
      env: { SHOAL_NODE_CONFIG_FILE: configFile },
      async beginSlowPull() {
        const settings = {
          ...JSON.parse(readFileSync(configFile, 'utf8')),
          downloadBytesPerSecondMax: SLOW_BYTES_PER_SECOND,
        }
        writeFileSync(configFile, JSON.stringify(settings))
        await processes.run({
          argv: [process.execPath, OWN_PROGRAM, 'reload'],
          env: { SHOAL_NODE_CONFIG_FILE: configFile },
          timeoutMs: COMMAND_MS,
        })
        const pulled = pull(shown, second)
        pulled.catch(() => undefined)
        const wanted = new Set<string>(second.layers.map(({ digest }) => digest))
        const third = SECOND_IMAGE.reduce((sum, bytes) => sum + bytes, 0) / 3
        for (let looks = 0; looks < LOOKS_MAX; looks++) {
          const blobs = (await shown.progress()).filter(({ digest }) => wanted.has(digest))
          if (blobs.reduce((sum, { bytesFromPeers }) => sum + bytesFromPeers, 0) > third) return
          await delay(LOOK_MS)
        }
        throw new LabPartError('the slow pull does not move')
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}
