import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  constants,
  fsyncSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { AttachFileError } from './errors.ts'
import { type FileTree, isSame } from './file-tree.ts'
import { backupOf, draftOf, type EditRecord, syncFolder } from './journal.ts'

/** Writes files so that each is as before or as it shall be, at any moment, and the file of before is kept as it is. */

/** Tests end the process at a step. */
export type OnStep = (step: string) => void

/**
 * @param madeFolders those that do not exist, the outermost first
 * @throws AttachFileError when a file is not as planned any more, or cannot be written; the caller takes all back
 */
export function applyEdits(
  tree: FileTree,
  { edits, madeFolders }: { edits: EditRecord[]; madeFolders: string[] },
  onStep: OnStep = () => undefined,
): void {
  for (const folder of madeFolders) {
    if (tree.stat(folder) !== undefined) continue
    mkdirSync(tree.real(folder), { mode: 0o755 })
    // The umask of a careful administrator must not hide it from the runtime.
    chmodSync(tree.real(folder), 0o755)
    syncFolder(dirname(tree.real(folder)))
    onStep(`made ${folder}`)
  }
  for (const edit of edits) applyEdit(tree, edit, onStep)
}

function applyEdit(tree: FileTree, { path, before, after }: EditRecord, onStep: OnStep): void {
  const found = tree.read(path)
  if (isSame(found, after)) return
  if (!isSame(found, before)) {
    throw new AttachFileError(`${path} was changed in this moment`, { hint: 'Run the command again.' })
  }
  try {
    const draft = tree.real(draftOf(path))
    rmSync(draft, { force: true })
    if ('link' in after) symlinkSync(after.link, draft)
    else writeLike(before === undefined ? undefined : tree.real(path), draft, after.text)
    onStep(`drafted ${path}`)
    if (before !== undefined) {
      rmSync(tree.real(backupOf(path)), { force: true })
      linkSync(tree.real(path), tree.real(backupOf(path)))
      onStep(`kept ${path}`)
    }
    renameSync(draft, tree.real(path))
    syncFolder(dirname(tree.real(path)))
    onStep(`wrote ${path}`)
  } catch (cause) {
    throw notWritten(path, cause as Error)
  }
}

/**
 * A new file with this text, and with mode, owner and extended attributes of another. (Node reads no extended attributes.
 * `cp` copies what the file system has of them.)
 */
export function writeLike(model: string | undefined, path: string, text: string): void {
  if (model !== undefined) {
    const copied = spawnSync('cp', ['--preserve=all', '--no-dereference', '--', model, path], {
      encoding: 'utf8',
    })
    if (copied.status !== 0) throw copied.error ?? new Error(copied.stderr.trim())
  }
  const flags = model === undefined ? constants.O_CREAT | constants.O_EXCL : 0
  const fd = openSync(path, constants.O_WRONLY | constants.O_NOFOLLOW | flags, 0o644)
  try {
    if (model === undefined) chmodSync(path, 0o644)
    ftruncateSync(fd)
    writeFileSync(fd, text)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

export function notWritten(path: string, cause: Error): AttachFileError {
  return new AttachFileError(`${path} cannot be written: ${cause.message}`, {
    cause,
    hint: 'The file system may be read-only, or the file immutable (lsattr). What was written before was taken back.',
  })
}
