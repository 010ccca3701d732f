import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePort } from '../../../lab/machine/free-port.ts'
import { type BenchBlob, makeTorrent, sha256OfFile } from '../../measure/blob.ts'
import { BenchRequirementError } from '../../measure/errors.ts'
import { endOf, endWithin } from '../../measure/line-process.ts'
import { type AnnounceServer, startAnnounceServer } from '../announce-server.ts'
import { Aria2Rpc } from './aria2-rpc.ts'
import type { BenchPeer, BenchSystem, OpenSystem } from './system.ts'

/** aria2 without encryption. It has no way to be told its peers, so they ask a tracker. */
export const aria2: BenchSystem = {
  name: 'aria2',
  async versions() {
    const found = await promisify(execFile)('aria2c', ['--version']).catch((cause: unknown) => {
      throw new BenchRequirementError('this machine lacks aria2', {
        cause,
        hint: 'On Debian or Ubuntu: sudo apt-get install -y aria2; or leave it out with --systems.',
      })
    })
    return { aria2: /version (\S+)/.exec(found.stdout)?.[1] ?? 'unknown' }
  },
  async open() {
    return openAria2(await startAnnounceServer())
  },
}

function openAria2(tracker: AnnounceServer): OpenSystem {
  return {
    servicePids: [],
    async startHolder(folder, blobs) {
      const peer = await Aria2Peer.start(tracker, folder)
      for (const blob of blobs) await peer.hold(blob)
      return peer
    },
    startDownloader: (folder) => Aria2Peer.start(tracker, folder),
    async settle() {},
    close: () => tracker.close(),
  }
}

interface Aria2Parts {
  tracker: AnnounceServer
  folder: string
  child: ChildProcess
  ended: Promise<string>
  rpc: Aria2Rpc
}

class Aria2Peer implements BenchPeer {
  /** Known to the tracker only. */
  readonly port = 0
  readonly #parts: Aria2Parts
  readonly #gids = new Map<string, string>()

  private constructor(parts: Aria2Parts) {
    this.#parts = parts
  }

  static async start(tracker: AnnounceServer, folder: string): Promise<Aria2Peer> {
    const rpcPort = await freePort()
    const secret = randomBytes(16).toString('hex')
    const settingsFile = join(folder, 'aria2.conf')
    const settings = { ...SETTINGS, dir: folder, 'rpc-listen-port': rpcPort, 'rpc-secret': secret }
    const lines = Object.entries({ ...settings, 'listen-port': await freePort() }).map((pair) =>
      pair.join('='),
    )
    await writeFile(settingsFile, lines.join('\n'), { mode: 0o600 })
    const child = spawn('aria2c', [`--conf-path=${settingsFile}`], { stdio: 'ignore' })
    const ended = endOf(child)
    return new Aria2Peer({ tracker, folder, child, ended, rpc: await Aria2Rpc.connect(rpcPort, secret) })
  }

  get pid(): number {
    return this.#parts.child.pid ?? -1
  }

  /** Waits for the announce: the holder must be the first that the tracker hears of. */
  async hold(blob: BenchBlob): Promise<void> {
    const { tracker } = this.#parts
    const announced = tracker.announced(makeTorrent(blob).infoHash)
    await this.#add(blob, { dir: blob.folder, 'bt-seed-unverified': 'true' })
    await announced
  }

  async prepare(blob: BenchBlob): Promise<void> {
    this.#parts.tracker.forgetDownloaders(makeTorrent(blob).infoHash)
  }

  async download(blob: BenchBlob): Promise<number> {
    await this.#parts.rpc.downloaded(await this.#add(blob, {}))
    return 0
  }

  async sentBytes({ name }: BenchBlob): Promise<number> {
    const gid = this.#gids.get(name)
    const { uploadLength } = await this.#parts.rpc.call<{ uploadLength: string }>('aria2.tellStatus', gid, [
      'uploadLength',
    ])
    return Number(uploadLength)
  }

  contentHash({ name }: BenchBlob): Promise<string> {
    return sha256OfFile(join(this.#parts.folder, name))
  }

  async stop(): Promise<void> {
    const { child, ended, rpc } = this.#parts
    rpc.close()
    // Its farewell on SIGTERM waits for the tracker and takes seconds.
    child.kill('SIGKILL')
    await endWithin(child, ended)
  }

  async #add(blob: BenchBlob, options: Record<string, string>): Promise<string> {
    const { rpc, tracker } = this.#parts
    const { file } = makeTorrent(blob, { announce: tracker.url })
    const gid = await rpc.call<string>('aria2.addTorrent', file.toString('base64'), [], options)
    this.#gids.set(blob.name, gid)
    return gid
  }
}

/** Peer discovery and encryption are off, nothing is limited, and downloaded files continue to be served. */
const SETTINGS = {
  'enable-rpc': true,
  'stop-with-process': process.pid,
  'enable-dht': false,
  'enable-dht6': false,
  'bt-enable-lpd': false,
  'enable-peer-exchange': false,
  'disable-ipv6': true,
  'bt-require-crypto': false,
  'bt-min-crypto-level': 'plain',
  'bt-max-peers': 0,
  'seed-ratio': 0,
  'file-allocation': 'none',
  'allow-overwrite': true,
  'max-concurrent-downloads': 16,
  quiet: true,
}
