import {
  chmodSync,
  chownSync,
  closeSync,
  fchmodSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { PUBLIC_AUTHORITY } from '../../core/consent.ts'
import { AttachFileError } from './errors.ts'
import type { FileTree } from './file-tree.ts'
import { syncFolder } from './journal.ts'

/**
 * The node's authority where every user can read it. Invariant: while a trust file of a runtime leads there, it is there:
 * it is written before the first link, the node replaces it, and it goes after the last link.
 */

/** Where the node's authority is, and where runtimes find it. */
export interface AuthorityPlace {
  /** The node's own file. */
  source: string
  /** What links lead to. */
  file: string
  /** Certificates alone, where `file` is a copy: '' until a node has its first registry; undefined if `source` is not there. */
  pem?: string | undefined
}

/** @param source as the node is configured */
export function authorityPlace(tree: FileTree, source: string): AuthorityPlace {
  if (tree.isForEverybody(source)) return { source, file: source }
  return { source, file: PUBLIC_AUTHORITY, pem: certificatesIn(tree.textOfNode(source)) }
}

/** Nothing but certificates may leave a closed folder: its owner chooses which file has this name. */
function certificatesIn(text: string | undefined): string | undefined {
  if (text?.trim() === '') return ''
  const found = text?.match(/-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----/g)
  return found === undefined || found === null ? undefined : `${found.join('\n')}\n`
}

/** @param owner the user who runs the node, which goes on writing there */
export function publishAuthority(
  tree: FileTree,
  pem: string,
  owner: { uid: number; gid: number } | undefined,
): void {
  const path = tree.real(PUBLIC_AUTHORITY)
  const folder = dirname(path)
  try {
    if (tree.stat(dirname(PUBLIC_AUTHORITY)) === undefined) {
      mkdirSync(folder, { mode: 0o755 })
      // The umask of a careful administrator must not hide it from the runtimes.
      chmodSync(folder, 0o755)
      if (owner !== undefined) chownSync(folder, owner.uid, owner.gid)
      syncFolder(dirname(folder))
    }
    if (tree.textOfNode(PUBLIC_AUTHORITY) === pem) return
    const draft = `${path}.new`
    rmSync(draft, { force: true })
    writeNew(draft, pem)
    renameSync(draft, path)
    syncFolder(folder)
  } catch (cause) {
    if (cause instanceof AttachFileError) throw cause
    throw new AttachFileError(`${PUBLIC_AUTHORITY} cannot be written: ${(cause as Error).message}`, { cause })
  }
}

/** Only through its descriptor: the folder's owner could put a link in its place. */
function writeNew(path: string, text: string): void {
  const fd = openSync(path, 'wx', 0o644)
  try {
    writeFileSync(fd, text)
    fchmodSync(fd, 0o644)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** @param isFolderOurs it was made for this */
export function withdrawAuthority(tree: FileTree, isFolderOurs: boolean): void {
  const folder = tree.real(dirname(PUBLIC_AUTHORITY))
  if (tree.stat(dirname(PUBLIC_AUTHORITY)) === undefined) return
  // With drafts that a killed node left.
  const own = readdirSync(folder).filter((name) => name.startsWith(basename(PUBLIC_AUTHORITY)))
  for (const name of own) removeIfFile(join(folder, name))
  syncFolder(folder)
  if (!isFolderOurs) return
  try {
    rmdirSync(folder)
  } catch {
    // Somebody put a file into it, so keep it.
  }
}

function removeIfFile(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // The folder's owner put something else there, so keep it.
  }
}
