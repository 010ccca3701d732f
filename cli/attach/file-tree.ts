import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  type Stats,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { AttachFileError } from './errors.ts'

/**
 * The files of this machine, or of a tree that stands for one. Invariant: no link is followed, neither of a file nor of a
 * folder above it, and every folder on the way is one that only root, its group and the caller can change. So what was
 * looked at is what is written later.
 */

/** What stands at a path; undefined: nothing. */
export type Content = { text: string } | { link: string } | undefined

/** Bound of a configuration file, in bytes. */
export const ATTACHED_FILE_BYTES_MAX = 1024 * 1024
const OTHERS_MAY_WRITE = 0o002
const OTHERS_MAY_READ = 0o004
const OTHERS_MAY_ENTER = 0o001
/** In a folder with this bit only the owner of an entry may rename or remove it. */
const STICKY = 0o1000

export class FileTree {
  readonly root: string

  /** @param root absolute; stands for `/` */
  constructor(root: string) {
    this.root = root
  }

  /** The path on this machine. @throws AttachFileError */
  real(path: string): string {
    if (path.split('/').includes('..')) throw refused(path, 'leads out of its folder')
    return this.root === '/' ? path : join(this.root, path)
  }

  /**
   * Checks the folders above a path, as far as they exist.
   * @returns the folders that do not exist, the outermost first
   * @throws AttachFileError
   */
  missingFolders(path: string): string[] {
    const names = dirname(path)
      .split('/')
      .filter((name) => name !== '')
    const folders = names.map((_, index) => `/${names.slice(0, index + 1).join('/')}`)
    const isMissing = (folder: string) => !this.#isSafeFolder(folder)
    const first = folders.findIndex(isMissing)
    return first < 0 ? [] : folders.slice(first)
  }

  /** @throws AttachFileError for what is neither a file nor a link, too large, or no text */
  read(path: string): Content {
    if (this.missingFolders(path).length > 0) return undefined
    const found = this.stat(path)
    if (found === undefined) return undefined
    if (found.isSymbolicLink()) return { link: readlinkSync(this.real(path)) }
    if (!found.isFile()) throw refused(path, 'is not a file')
    return { text: this.#text(path) }
  }

  /** The text of a file that says how things are; undefined for none, and for a link. */
  text(path: string): string | undefined {
    const content = this.read(path)
    return content !== undefined && 'text' in content ? content.text : undefined
  }

  /** Names in a folder, sorted; none if there is no such folder. */
  list(folder: string): string[] {
    if (this.missingFolders(join(folder, 'any')).length > 0) return []
    return readdirSync(this.real(folder)).sort()
  }

  /** Whether every user can read the file. */
  isForEverybody(path: string): boolean {
    const isOpen = (one: string, bit: number) => ((this.stat(one)?.mode ?? 0) & bit) !== 0
    const folders = path.split('/').map((_, index, names) => names.slice(0, index).join('/'))
    return (
      isOpen(path, OTHERS_MAY_READ) && folders.every((one) => one === '' || isOpen(one, OTHERS_MAY_ENTER))
    )
  }

  stat(path: string): Stats | undefined {
    return lstatSync(this.real(path), { throwIfNoEntry: false })
  }

  #text(path: string): string {
    const fd = openSync(this.real(path), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const { size } = fstatSync(fd)
      if (size > ATTACHED_FILE_BYTES_MAX) throw refused(path, 'is larger than a configuration file')
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(readFileSync(fd))
    } catch (cause) {
      throw cause instanceof TypeError ? refused(path, 'is not UTF-8 text') : cause
    } finally {
      closeSync(fd)
    }
  }

  /** @returns false if nothing is there */
  #isSafeFolder(folder: string): boolean {
    const found = this.stat(folder)
    if (found === undefined) return false
    if (found.isSymbolicLink()) throw refused(folder, 'is a link')
    if (!found.isDirectory()) throw refused(folder, 'is not a folder')
    if (found.uid !== 0 && found.uid !== process.geteuid?.())
      throw refused(folder, `belongs to user ${found.uid}`)
    if ((found.mode & OTHERS_MAY_WRITE) !== 0 && (found.mode & STICKY) === 0)
      throw refused(folder, 'can be written by every user')
    return true
  }
}

export function isSame(one: Content, other: Content): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

function refused(path: string, why: string): AttachFileError {
  return new AttachFileError(`${path} ${why}`, {
    hint: 'Shoal follows no links, and changes nothing that another user could replace. Nothing was changed.',
  })
}
