import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { TarReader } from '../../lab/image/tar.ts'
import { type Architecture, CPUS } from './architectures.ts'
import { PackageError } from './errors.ts'
import { type Lock, ROOT } from './source.ts'

/** The Node that the lock file pins, for this architecture or the other one. */
export interface PinnedNode {
  version: string
  /** Of the archive that it came in. */
  integrity: string
  binary: Buffer
  licence: string
}

const FILES = ['bin/node', 'LICENSE'] as const

/**
 * The installed one if it fits. Else npm fetches it (or finds it in its cache), and it counts if it is what the lock file
 * says.
 * @throws PackageError
 */
export function pinnedNode(architecture: Architecture, lock: Lock): PinnedNode {
  const path = `node_modules/node-linux-${CPUS[architecture]}`
  const locked = lock[path]
  if (locked === undefined) throw new PackageError(`the lock file has no ${path}`)
  const { version, integrity } = locked
  const installed = join(ROOT, path)
  const [binary, licence] = existsSync(join(installed, FILES[0]))
    ? FILES.map((name) => readFileSync(join(installed, name)))
    : filesIn(fetched(`${path.slice('node_modules/'.length)}@${version}`, integrity))
  return { version, integrity, binary: binary!, licence: String(licence) }
}

function fetched(wanted: string, integrity: string): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'shoal-node-'))
  try {
    const argv = ['pack', wanted, '--prefer-offline', '--silent', '--pack-destination', folder]
    execFileSync('npm', argv, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] })
    const archive = readFileSync(join(folder, readdirSync(folder)[0]!))
    const found = `sha512-${createHash('sha512').update(archive).digest('base64')}`
    if (found === integrity) return archive
    throw new PackageError(`${wanted} is not what the lock file says: ${found}`)
  } catch (cause) {
    if (cause instanceof PackageError) throw cause
    throw new PackageError(`npm cannot fetch ${wanted}: ${(cause as Error).message.trim()}`, {
      cause,
      hint: 'Build for this machine alone with --arch, or build once while npm reaches its registry: it keeps a copy.',
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function filesIn(archive: Buffer): Buffer[] {
  const found = new Map<string, Buffer[]>()
  const reader = new TarReader((name) => {
    const parts: Buffer[] = []
    found.set(name, parts)
    return { data: (chunk) => void parts.push(chunk), end: () => undefined }
  })
  reader.push(gunzipSync(archive))
  return FILES.map((name) => Buffer.concat(found.get(`package/${name}`) ?? []))
}
