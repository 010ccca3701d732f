import { createHash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { digestFromHex } from '../../core/digest.ts'
import { makeAuthority } from '../../core/issue-certificate.ts'
import { issueForLocalhost } from '../../lab/machine/localhost-certificate.ts'
import { type LineProcess, startLineProcess } from '../measure/line-process.ts'
import { rssBytesOf } from '../measure/process-usage.ts'
import { makeRunFolder } from '../measure/run-folder.ts'
import { type BenchDatabase, startBenchDatabase } from './database.ts'
import type { TrackerBenchOptions } from './options.ts'
import type { LoadSettings, RegistryAnswer } from './questions.ts'
import { joinTokenOf, newUnlockKey, startTrackerProcess, type TrackerProcess } from './tracker-process.ts'

/** Everything that one measurement needs: a registry, perhaps a database, trackers of one cluster, and nodes. */

const REGISTRY_PROGRAM = join(import.meta.dirname, 'registry-process.ts')
const LOAD_PROGRAM = join(import.meta.dirname, 'load-process.ts')
const CERTIFICATE_SECONDS = 24 * 3600
const TOKENS_PER_QUESTION = 2_000
/** A cluster that one tracker made is known to the others at once. */
const CLUSTER_KNOWN_MS = 500

export interface SiteOptions
  extends Pick<
    TrackerBenchOptions,
    'store' | 'blobs' | 'isProbed' | 'connections' | 'profileFolder' | 'folder'
  > {
  trackers: number
  images: number
  blobBytes: number
  imagesHeld: number
  heartbeatSeconds: number
}

export interface Site {
  registry: LineProcess
  load: LineProcess
  trackers: TrackerProcess[]
  database: BenchDatabase | undefined
  /** Until all nodes have joined and sent their inventory. */
  joinSeconds: number
  /** Makes at least as many requests for grants ready. */
  prepareGrants(wanted: number): Promise<void>
}

/** @param running stops it all */
export async function startSite(options: SiteOptions, running: AsyncDisposableStack): Promise<Site> {
  const { folder, removeFolder } = makeRunFolder(options.folder, 'shoal-tracker-')
  running.defer(removeFolder)
  const start = (program: string) =>
    running.adopt(startLineProcess([process.execPath, program]), (it) => it.stop())
  const authority = await makeAuthority({ commonName: 'benchmark', validForSeconds: CERTIFICATE_SECONDS })
  const caPem = authority.certificatePem
  const tls = await issueForLocalhost(authority, CERTIFICATE_SECONDS)
  const registry = start(REGISTRY_PROGRAM)
  const { host, tokenKeys: keys } = await registry.ask<RegistryAnswer>({ do: 'open', ...tls })
  const images = imagesOf(options)
  await registry.ask({ do: 'add', images })
  const database =
    options.store === 'sqlite'
      ? undefined
      : running.adopt(await startBenchDatabase(folder, tls, caPem), (it) => it.close())
  const { profileFolder, heartbeatSeconds } = options
  const trackers: TrackerProcess[] = []
  const unlockKey = newUnlockKey()
  for (let index = 0; index < options.trackers; index += 1) {
    const own = join(folder, `tracker-${index}`)
    mkdirSync(own, { mode: 0o700 })
    const tracker = await startTrackerProcess({
      ...{ folder: own, tls, caPem, registry: host, profileFolder, heartbeatSeconds, unlockKey },
      tokenKeys: options.isProbed ? undefined : keys,
      database: database?.config,
    })
    running.defer(() => tracker.stop())
    trackers.push(tracker)
  }
  const joinToken = await joinTokenOf(trackers[0]!)
  if (trackers.length > 1) await wait(CLUSTER_KNOWN_MS)
  const load = start(LOAD_PROGRAM)
  const settings: LoadSettings = {
    ports: trackers.map(({ port }) => port),
    trackerCaPem: caPem,
    joinToken,
    connections: options.connections * trackers.length,
    registry: host,
    images,
    imagesHeld: options.imagesHeld,
  }
  const { joinSeconds } = await load.ask<{ joinSeconds: number }>({ do: 'open', ...settings })
  note(
    `memory with ${settings.connections} nodes joined: ${trackers.map(({ pid }) => memoryOf(pid)).join(', ')}`,
  )
  return {
    ...{ registry, load, trackers, database, joinSeconds },
    async prepareGrants(wanted) {
      for (let prepared = 0; prepared < wanted; ) {
        const question = { do: 'tokens', count: TOKENS_PER_QUESTION }
        const { tokens } = await registry.ask<{ tokens: string[] }>(question)
        prepared = (await load.ask<{ prepared: number }>({ do: 'prepare', tokens })).prepared
      }
    },
  }
}

function imagesOf({ images, blobs, blobBytes }: SiteOptions): LoadSettings['images'] {
  const digest = (name: string) => digestFromHex(createHash('sha256').update(name).digest('hex'))
  return Array.from({ length: images }, (_, image) =>
    Array.from({ length: blobs }, (_, blob) => ({ digest: digest(`${image} ${blob}`), bytes: blobBytes })),
  )
}

export function memoryOf(pid: number): string {
  return `${mebibytesOf(pid)} MiB`
}

export function mebibytesOf(pid: number): number {
  return Math.round(rssBytesOf(pid) / 2 ** 20)
}

export function note(line: string): void {
  process.stderr.write(`${line}\n`)
}
