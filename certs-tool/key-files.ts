import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { explainDisk } from '../core/disk-space.ts'
import { ShoalError } from '../core/errors.ts'
import { FileAccessError, FileExistsError } from './errors.ts'

/** A file to write. Only their owner can read secrets, whatever the umask. */
export interface NewFile {
  path: string
  content: string
  isSecret: boolean
}

/** Bound of a file that is read whole, in bytes: a bundle of several hundred certificates. */
const FILE_BYTES_MAX = 4 * 1024 * 1024
const SECRET_MODE = 0o600
const PUBLIC_MODE = 0o644
const SECRET_DIR_MODE = 0o700

/**
 * Writes all files, or none if one of them exists and `force` is not given.
 * @throws FileExistsError, FileAccessError
 */
export function writeNewFiles(files: NewFile[], force: boolean): void {
  const paths = files.map(({ path }) => path)
  refuseExisting(paths, force)
  for (const file of files) writeWhole(file)
}

/**
 * Checks the files first, for commands that do something before they write.
 * @throws FileExistsError
 */
export function refuseExisting(paths: string[], force: boolean): void {
  const existing = force ? undefined : paths.find((path) => existsSync(path))
  if (existing === undefined) return
  throw new FileExistsError(`${existing} exists`, {
    hint: 'Nothing was written. Name another place, or add --force to replace it.',
  })
}

/** Writes all or nothing: a draft beside the file gets its name once it is complete. */
function writeWhole({ path, content, isSecret }: NewFile): void {
  const draft = `${path}.${process.pid}.new`
  try {
    mkdirSync(dirname(path), { recursive: true, mode: SECRET_DIR_MODE })
    writeFileSync(draft, content.endsWith('\n') ? content : `${content}\n`, {
      mode: isSecret ? SECRET_MODE : PUBLIC_MODE,
      flag: 'wx',
    })
    renameSync(draft, path)
  } catch (cause) {
    if (existsSync(draft)) rmSync(draft, { force: true })
    throw accessError('write', path, cause)
  }
}

/** @throws FileAccessError */
export function readTextFile(path: string): string {
  return readFileBytes(path).toString('utf8')
}

/**
 * A whole file; `-` is standard input.
 * @throws FileAccessError
 */
export function readFileBytes(path: string): Buffer {
  let bytes: Buffer
  try {
    bytes = readFileSync(path === '-' ? 0 : path)
  } catch (cause) {
    throw accessError('read', path, cause)
  }
  if (bytes.length > FILE_BYTES_MAX)
    throw new FileAccessError(`${path} is larger than ${FILE_BYTES_MAX} bytes`)
  return bytes
}

/** What went wrong with a file, for people. */
export function accessError(verb: 'read' | 'write', path: string, cause: unknown): ShoalError {
  const explained = explainDisk(cause, dirname(path))
  if (explained instanceof ShoalError) return explained
  const code = (cause as NodeJS.ErrnoException).code ?? 'unknown error'
  const hint =
    verb === 'read' ? 'Check the path, and that you may read it.' : 'Check that you may write there.'
  return new FileAccessError(`cannot ${verb} ${path} (${code})`, { cause, hint })
}
