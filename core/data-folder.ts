import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from 'node:fs'
import { rename, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { ShoalError } from './errors.ts'

/**
 * Folders and files that Shoal keeps. Invariant: once `ensureFolder` has returned, only root, the user who runs Shoal and
 * the owner of this code can replace the folder or put anything into it. So the checked folder is the one in use. Node
 * has no openat(2): the whole path is walked from the root, each step below one that others cannot change. Links made by
 * others are refused; in the folder itself every link is.
 */

/** Another user has put something into the data folder, or could: print message and hint, and exit. */
export class DataFolderError extends ShoalError {
  readonly code = 'DATA_FOLDER'
}

export interface FolderOptions {
  /** The folder is inside a data folder, and must not be a link at all; default false. */
  isPart?: boolean
  /** Mode of new folders; default 0o700. */
  mode?: number
  /** Members of the folder's group may write there (not in the data folder); default false. */
  isGroupTrusted?: boolean
}

const ROOT = 0
const PRIVATE_MODE = 0o600
const GROUP_OR_OTHERS_MAY_WRITE = 0o022
const OTHERS_MAY_WRITE = 0o002
/** In a folder with this bit only the owner of an entry may rename or remove it. */
const STICKY = 0o1000
/** Bound of links in a path, the same as in Linux. */
const LINKS_MAX = 40
/** Bound of folders inside each other that are removed: a blob's folder is two deep. */
const FOLDERS_DEPTH_MAX = 4

/** The user of a service whose data folder root works on; undefined: nobody else's. */
let served: { uid: number; gid: number } | undefined

/**
 * For a command of root on the data folder of a service: from now on the folder's owner counts as ourselves, and what is
 * written belongs to that user. Root must not trust what the user does meanwhile: names are never followed, and owners are
 * changed through descriptors only.
 */
export function serveOwnerOf(path: string): void {
  if (process.geteuid?.() !== ROOT) return
  const found = statSync(path, { throwIfNoEntry: false })
  served = found === undefined || found.uid === ROOT ? undefined : { uid: found.uid, gid: found.gid }
}

/**
 * Makes the folder for its owner alone if it does not exist, and checks it and every folder above.
 * @returns the new folders, the innermost last
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
  // Fails if another user was faster.
  mkdirSync(path, { mode })
  made.push(path)
  return lstatSync(path)
}

/** @param isPrivate only its owner may write there, and the owner is root or the user who runs Shoal */
function checkFolder(path: string, found: Stats, isPrivate: boolean): void {
  if (!found.isDirectory()) throw refused(path, 'is not a folder')
  const isOwned = isPrivate ? isOwnOrRoots(found.uid) : isTrustedOwner(found.uid)
  if (!isOwned) throw refused(path, `belongs to user ${found.uid}`)
  const isSticky = !isPrivate && (found.mode & STICKY) !== 0
  const mayWrite = isPrivate ? GROUP_OR_OTHERS_MAY_WRITE : OTHERS_MAY_WRITE
  if (!isSticky && (found.mode & mayWrite) !== 0) throw refused(path, 'can be written by other users')
}

/**
 * Reads a file of the data folder.
 * @returns undefined if there is none
 * @throws DataFolderError if it is a link, not a file, or another user's
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
 * Opens an existing file with one name. (By a second name another user could lead to somebody else's file.)
 * @param flags of open(2); O_NOFOLLOW is added
 * @returns undefined if there is none
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
    // Without O_NONBLOCK, opening a pipe that somebody put there would block.
    return openSync(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    if (code === 'ELOOP') throw refused(path, 'is a link')
    throw error
  }
}

/**
 * Writes a file whole or not at all, and replaces an entry of that name: the link itself, never its target.
 * @param draft the file's name while it is written; renamed at the end
 */
export function replaceFile(
  path: string,
  contents: string,
  mode = PRIVATE_MODE,
  draft = `${path}.new`,
): void {
  // Remove a draft left by a crash or by somebody: opening it would write into it.
  rmSync(draft, { force: true })
  try {
    const fd = openSync(draft, 'wx', mode)
    try {
      // The umask of a careful administrator must not hide it from others.
      if (mode !== PRIVATE_MODE) fchmodSync(fd, mode)
      writeFileSync(fd, contents)
      if (served !== undefined) fchownSync(fd, served.uid, served.gid)
    } finally {
      closeSync(fd)
    }
    renameSync(draft, path)
  } catch (error) {
    rmSync(draft, { force: true })
    throw error
  }
}

/** Removes a folder with all that is in it, if there is one; links are removed and never followed. */
export function removeFolder(path: string, depthMax = FOLDERS_DEPTH_MAX): void {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  // By the descriptor: the folder's owner may put a link in its place meanwhile.
  const here = `/proc/self/fd/${fd}`
  try {
    for (const entry of readdirSync(here, { withFileTypes: true })) {
      const at = join(here, entry.name)
      if (entry.isDirectory() && depthMax > 1) removeFolder(at, depthMax - 1)
      else rmSync(at, { force: true })
    }
  } finally {
    closeSync(fd)
  }
  rmdirSync(path)
}

/** Like `replaceFile` with its default mode, without holding up other work. One at a time for a path. */
export async function replaceFileLater(path: string, contents: string): Promise<void> {
  const draft = `${path}.new`
  await rm(draft, { force: true })
  try {
    await writeFile(draft, contents, { mode: 0o600, flag: 'wx' })
    await rename(draft, path)
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
}

/**
 * Checks files that other code opens (SQLite): none may be a link or another user's. The result is valid as long as the
 * folder's check is.
 * @throws DataFolderError
 */
export function checkOwnFiles(paths: string[]): void {
  for (const path of paths) {
    const fd = openOwnFile(path, constants.O_RDONLY)
    if (fd !== undefined) closeSync(fd)
  }
}

function isOwnOrRoots(uid: number): boolean {
  return uid === ROOT || uid === process.geteuid?.() || uid === served?.uid
}

/** The owner of this code can do everything that it does, so trust that user too: `sudo npm start` in a checkout. */
function isTrustedOwner(uid: number): boolean {
  // Not the user who is served: whoever owns a folder above could lead root elsewhere.
  return uid === ROOT || uid === process.geteuid?.() || uid === statSync(import.meta.filename).uid
}

function namesOf(path: string): string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.')
}

function refused(path: string, why: string): DataFolderError {
  return new DataFolderError(`${path} ${why}`, {
    hint: 'Only root and the user who runs Shoal may write to the data folder or replace a folder above it. Look at what is there, then change owner and mode (chmod go-w), or name another folder.',
  })
}
