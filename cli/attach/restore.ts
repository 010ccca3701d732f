import { lstatSync, renameSync, rmdirSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { type OnStep, READ_ONLY_HINT, writeLike } from './apply.ts'
import { AttachEditedError, AttachFileError } from './errors.ts'
import { type Content, type FileTree, isSame } from './file-tree.ts'
import { backupOf, draftOf, type EditRecord, syncFolder } from './journal.ts'
import { takeBackJson } from './json-edit.ts'
import { mergeTexts, unifiedDiff } from './unified-diff.ts'

/** Takes edits back: the very files of before, or, where somebody edited one since, that edit without our part. */

/** What taking back one edit will do; `keep`: nothing of ours is there any more. */
export type Restoration =
  | { kind: 'remove' | 'put back' | 'keep' }
  | { kind: 'merge'; text: string }
  | { kind: 'conflict'; diff: string }

/** Pure. @param found what stands there now */
export function restorationOf({ path, before, after, changes }: EditRecord, found: Content): Restoration {
  if (isSame(found, after)) return { kind: before === undefined ? 'remove' : 'put back' }
  // Not written yet, or taken back already.
  if (isSame(found, before)) return { kind: before === undefined ? 'keep' : 'put back' }
  // Somebody removed the file, and our part with it.
  if (found === undefined) return { kind: 'keep' }
  if ('text' in found && 'text' in after) {
    const base = before !== undefined && 'text' in before ? before.text : undefined
    const text =
      changes === undefined
        ? base === undefined
          ? undefined
          : mergeTexts({ ours: after.text, base, theirs: found.text })
        : takeBackJson(found.text, changes)
    if (text !== undefined) return { kind: 'merge', text }
    return { kind: 'conflict', diff: unifiedDiff(path, after.text, found.text) }
  }
  return {
    kind: 'conflict',
    diff: `${path} is now ${'link' in found ? `a link to ${found.link}` : 'a file'}\n`,
  }
}

interface Taken {
  edits: EditRecord[]
  madeFolders: string[]
}

/**
 * @returns what was done, by path
 * @throws AttachEditedError before anything is touched, AttachFileError
 */
export function restoreEdits(
  tree: FileTree,
  { edits, madeFolders }: Taken,
  onStep: OnStep = () => undefined,
): Map<string, Restoration> {
  const planned = edits.map((edit) => ({ edit, what: restorationOf(edit, tree.read(edit.path)) }))
  refuseConflicts(planned)
  const left = planned.map(({ edit }) => edit.path)
  for (const { edit, what } of planned.toReversed()) {
    try {
      restoreEdit(tree, edit, what)
    } catch (cause) {
      throw notRestored(edit.path, { left, all: planned.length, cause: cause as Error })
    }
    left.pop()
    onStep(`took back ${edit.path}`)
  }
  for (const folder of madeFolders.toReversed()) removeIfEmpty(tree.real(folder))
  return new Map(planned.map(({ edit, what }) => [edit.path, what]))
}

function notRestored(path: string, { left, all, cause }: { left: string[]; all: number; cause: Error }) {
  return new AttachFileError(`${path} cannot be taken back: ${cause.message}`, {
    cause,
    hint: `${READ_ONLY_HINT} Taken back so far: ${all - left.length} of ${all} files. Still as attached: ${left.join(', ')}. Remove the cause and run the command again: it goes on from there.`,
  })
}

function refuseConflicts(planned: { edit: EditRecord; what: Restoration }[]): void {
  const all = planned.flatMap(({ edit, what }) => (what.kind === 'conflict' ? [edit] : []))
  if (all.length === 0) return
  const paths = all.map(({ path }) => path).join(', ')
  throw new AttachEditedError(`somebody edited the lines that Shoal wrote in ${paths}`, {
    hint: 'Undo that edit (`shoal detach RUNTIME --dry-run` shows it), or remove the file if nobody needs it. Then run the command again. Nothing was changed.',
  })
}

function restoreEdit(tree: FileTree, { path, before, onlyWhile }: EditRecord, what: Restoration): void {
  const [real, backup, draft] = [path, backupOf(path), draftOf(path)].map((one) => tree.real(one))
  if (lstatSync(dirname(real!), { throwIfNoEntry: false }) === undefined) return
  rmSync(draft!, { force: true })
  const isOver = onlyWhile !== undefined && !isSame(before, { text: tree.textOfNode(onlyWhile) ?? '' })
  if (what.kind === 'remove' || (what.kind === 'put back' && isOver)) rmSync(real!)
  else if (what.kind === 'put back') putBack(tree, path, before)
  else if (what.kind === 'merge') {
    writeLike(real!, draft!, what.text)
    renameSync(draft!, real!)
  }
  rmSync(backup!, { force: true })
  syncFolder(dirname(real!))
}

/** The inode of before; where somebody removed or changed that, its text. */
function putBack(tree: FileTree, path: string, before: Content): void {
  const [real, backup, draft] = [path, backupOf(path), draftOf(path)].map((one) => tree.real(one))
  const [now, kept] = [path, backupOf(path)].map((one) => tree.stat(one))
  // Interrupted while both names led to one file: nothing was written.
  if (now !== undefined && now.ino === kept?.ino) return
  if (kept !== undefined && isSame(tree.read(backupOf(path)), before)) {
    renameSync(backup!, real!)
    return
  }
  if (isSame(tree.read(path), before) || before === undefined || 'link' in before) return
  writeLike(real!, draft!, before.text)
  renameSync(draft!, real!)
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder)
  } catch {
    // Somebody put a file into it, so keep it.
  }
}
