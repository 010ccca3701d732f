import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { ShoalError } from './errors.ts'

/**
 * Folders and files that Shoal keeps. Invariant: once `ensureFolder` has returned, nobody but root, the user who runs
 * this, and the owner of this code can put anything in the folder's place or into it, so that what was checked is what
 * is used. Node has no openat(2): the whole path is walked from the root, each step below one that others cannot
 * change. Links that others made are refused, and in the folder itself every link is.
 */

/** Another user has put something into the data folder, or can: print message and hint, and exit. */
export class DataFolderError extends ShoalError {
  readonly code = 'DATA_FOLDER'
}

export interface FolderOptions {
  /** It lies in a data folder, and may not be a link at all; false unless given. */
  isPart?: boolean
  /** Of folders that are made; 0o700 unless given. */
  mode?: number
  /** Members of its group may write there (not in the data folder); false unless given. */
  isGroupTrusted?: boolean
}

const ROOT = 0
const GROUP_OR_OTHERS_MAY_WRITE = 0o022
const OTHERS_MAY_WRITE = 0o002
/** In such a folder only the owner of an entry may rename or remove it. */
const STICKY = 0o1000
/** Bound of links in a path, as Linux has it. */
const LINKS_MAX = 40

/**
 * Makes a folder where there is none, for its owner alone, and checks it and every folder above.
 * @returns the folders that were made, the innermost last
 * @throws DataFolderError; of `fs.mkdirSync` and `fs.lstatSync`
 */
export function ensureFolder(
  path: string,
  { isPart = false, mode = 0o700, isGroupTrusted = false }: FolderOptions = {},
): string[] {
  const made: string[] = []
  const rest = namesOf(resolve(path))
  let links = 0
  let at = '/'
  for (let name = rest.shift(); name !== undefined; name = rest.shift()) {
    const next = join(at, name)
    const found = lstatOrMake(next, mode, made)
    const isLast = rest.length === 0
    if (found.isSymbolicLink()) {
      if (isLast && isPart) throw refused(next, 'is a link')
      links += 1
      if (!isTrustedOwner(found.uid) || links > LINKS_MAX)
        throw refused(next, 'is a link that another user made')
      const target = readlinkSync(next)
      rest.unshift(...namesOf(target))
      if (target.startsWith('/')) at = '/'
      continue
    }
    checkFolder(next, found, isLast && !isGroupTrusted)
    at = next
  }
  return made
}

function lstatOrMake(path: string, mode: number, made: string[]): Stats {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found !== undefined) return found
  // Fails when another user was faster.
  mkdirSync(path, { mode })
  made.push(path)
  return lstatSync(path)
}

/** @param isPrivate nobody but its owner may write there, and that is root or who runs this */
function checkFolder(path: string, found: Stats, isPrivate: boolean): void {
  if (!found.isDirectory()) throw refused(path, 'is no folder')
  const isOwned = isPrivate ? isOwnOrRoots(found.uid) : isTrustedOwner(found.uid)
  if (!isOwned) throw refused(path, `belongs to user ${found.uid}`)
  const isSticky = !isPrivate && (found.mode & STICKY) !== 0
  const mayWrite = isPrivate ? GROUP_OR_OTHERS_MAY_WRITE : OTHERS_MAY_WRITE
  if (!isSticky && (found.mode & mayWrite) !== 0) throw refused(path, 'can be written by other users')
}

/**
 * Reads a file of the data folder.
 * @returns undefined when there is none
 * @throws DataFolderError when it is a link, no file, or another user's
 */
export function readOwnFile(path: string): string | undefined {
  const fd = openOwnFile(path, constants.O_RDONLY)
  if (fd === undefined) return undefined
  try {
    return readFileSync(fd, 'utf8')
  } finally {
    closeSync(fd)
  }
}

/**
 * Opens a file that is there, and is a file of one name (a second name may be another user's way to a third one's file).
 * @param flags of open(2); O_NOFOLLOW is added
 * @returns undefined when there is none
 * @throws DataFolderError
 */
export function openOwnFile(path: string, flags: number): number | undefined {
  const fd = openUnlessLink(path, flags)
  if (fd === undefined) return undefined
  const found = fstatSync(fd)
  const isOwn = found.isFile() && found.nlink === 1 && isOwnOrRoots(found.uid)
  if (isOwn) return fd
  closeSync(fd)
  throw refused(path, 'was put there by another user')
}

function openUnlessLink(path: string, flags: number): number | undefined {
  try {
    // Without O_NONBLOCK a pipe that somebody put there would be waited for.
    return openSync(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    if (code === 'ELOOP') throw refused(path, 'is a link')
    throw error
  }
}

/**
 * Writes a file whole or not at all, and replaces what has its name: a link too, never what it leads to.
 * @param draft gets the name of the file when it is whole
 */
export function replaceFile(path: string, contents: string, mode = 0o600, draft = `${path}.new`): void {
  // Left over by a crash, or put there: opened it would be written into, so it goes first.
  rmSync(draft, { force: true })
  try {
    writeFileSync(draft, contents, { mode, flag: 'wx' })
    renameSync(draft, path)
  } catch (error) {
    rmSync(draft, { force: true })
    throw error
  }
}

/**
 * For files that something else opens (SQLite): none of them may be a link or another user's. Holds as long as the
 * folder does.
 * @throws DataFolderError
 */
export function checkOwnFiles(paths: string[]): void {
  for (const path of paths) {
    const fd = openOwnFile(path, constants.O_RDONLY)
    if (fd !== undefined) closeSync(fd)
  }
}

function isOwnOrRoots(uid: number): boolean {
  return uid === ROOT || uid === process.geteuid?.()
}

/** Who owns the code that runs here can do all that it can: `sudo npm start` in a person's own checkout. */
function isTrustedOwner(uid: number): boolean {
  return isOwnOrRoots(uid) || uid === statSync(import.meta.filename).uid
}

function namesOf(path: string): string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.')
}

function refused(path: string, why: string): DataFolderError {
  return new DataFolderError(`${path} ${why}`, {
    hint: 'Only root and the user who runs Shoal may write to the data folder or replace a folder above it; look at what is there, then change owner and mode (chmod go-w), or name another folder.',
  })
}
