import { gzipSync } from 'node:zlib'
import { TAR_END, tarHeader, tarPadding } from '../../lab/image/tar.ts'

/**
 * The files of a package, before they become an archive. All formats are written from such a list, in memory: nothing of
 * the machine that builds (folder, umask, time zone, order of names on its disk) can find its way in.
 */

export interface PackedFile {
  /** Without a leading slash. */
  path: string
  mode: number
  bytes: Buffer
}

export interface PackedLink {
  path: string
  target: string
}

/** A folder that is no plain one of root's. */
export interface PackedFolder {
  path: string
  mode: number
  owner: number
}

export type Packed = PackedFile | PackedLink | PackedFolder

const FOLDER_MODE = 0o755
export const FILE_MODE = 0o644
export const PROGRAM_MODE = 0o755
const GZIP_LEVEL = 9

export function textFile(path: string, text: string, mode = FILE_MODE): PackedFile {
  return { path, mode, bytes: Buffer.from(text) }
}

/** The same files below a folder. */
export function below(folder: string, files: Packed[]): Packed[] {
  return files.map((file) => ({ ...file, path: `${folder}/${file.path}` }))
}

/**
 * An archive of the files and the folders that they need, sorted, all root's.
 * @param prefix what precedes each path: `./` in Debian packages
 * @param timeS time of each file, in seconds of Unix time
 */
export function tarOf(files: Packed[], { prefix = '', timeS }: { prefix?: string; timeS: number }): Buffer {
  const named = new Set(files.map(({ path }) => path))
  const folders = [...new Set(files.flatMap(({ path }) => foldersAbove(path)))].filter(
    (path) => !named.has(path),
  )
  const entries = [
    ...folders.map((path) => ({ path, parts: [folderHeader(`${prefix}${path}/`, timeS)] })),
    ...files.map((file) => ({ path: file.path, parts: partsOf(file, prefix, timeS) })),
  ].sort((one, other) => (one.path < other.path ? -1 : 1))
  const first = prefix === '' ? [] : [folderHeader(prefix, timeS)]
  return Buffer.concat([...first, ...entries.flatMap(({ parts }) => parts), TAR_END])
}

/** The same as `gzip -9n`: no name and no time. */
export function gzipped(bytes: Buffer): Buffer {
  return gzipSync(bytes, { level: GZIP_LEVEL })
}

function partsOf(file: Packed, prefix: string, timeS: number): Buffer[] {
  const name = `${prefix}${file.path}`
  if ('target' in file) {
    return [tarHeader({ name, mode: 0o777, bytes: 0, type: 'link', target: file.target, timeS })]
  }
  if ('owner' in file) {
    const { mode, owner } = file
    return [tarHeader({ name: `${name}/`, mode, owner, bytes: 0, type: 'folder', timeS })]
  }
  const { mode, bytes } = file
  return [tarHeader({ name, mode, bytes: bytes.length, timeS }), bytes, tarPadding(bytes.length)]
}

function folderHeader(name: string, timeS: number): Buffer {
  return tarHeader({ name, mode: FOLDER_MODE, bytes: 0, type: 'folder', timeS })
}

function foldersAbove(path: string): string[] {
  const names = path.split('/').slice(0, -1)
  return names.map((_, index) => names.slice(0, index + 1).join('/'))
}
