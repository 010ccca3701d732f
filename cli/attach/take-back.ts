import { dirname } from 'node:path'
import { PUBLIC_AUTHORITY } from '../../core/consent.ts'
import { AttachEditedError } from './errors.ts'
import type { FileTree } from './file-tree.ts'
import type { Attachment, Attachments, Journal, RuntimeName } from './journal.ts'
import { withdrawAuthority } from './public-authority.ts'
import { restoreEdits } from './restore.ts'
import type { Machine } from './surroundings.ts'

/** Takes whole attachments back, also those that a crash left half done. */

/** Takes one runtime's attachment back, wherever it stands. */
export async function takeBack(
  machine: Machine,
  { tree, journal, runtime }: { tree: FileTree; journal: Journal; runtime: RuntimeName },
): Promise<void> {
  const attachments = journal.load()
  const attachment = attachments[runtime]
  if (attachment !== undefined) {
    const others: Attachments = { ...attachments }
    delete others[runtime]
    const shared = new Set(Object.values(others).flatMap(({ edits }) => edits.map(({ path }) => path)))
    const edits = attachment.edits.filter(({ path }) => !shared.has(path))
    if (attachment.phase === 'attached')
      journal.save({ ...attachments, [runtime]: { ...attachment, phase: 'restoring' } })
    machine.onStep?.('journal says restoring')
    try {
      restoreEdits(tree, { ...attachment, edits }, machine.onStep)
    } catch (error) {
      // Nothing was touched.
      if (error instanceof AttachEditedError) journal.save(attachments)
      throw error
    }
    const isStillLinked = Object.values(others).some((other) => other.isAuthorityPublic)
    if (attachment.isAuthorityPublic && !isStillLinked)
      withdrawAuthority(tree, attachment.madeFolders.includes(dirname(PUBLIC_AUTHORITY)))
    machine.onStep?.('authority withdrawn')
    leaveFolders(tree, attachment, others)
    journal.save(others)
    // A command that fails prints why; the files are as before all the same.
    if (machine.isLive) for (const argv of attachment.commands) await machine.run(argv)
  }
  const rest = journal.load()
  if (Object.keys(rest).length === 0) journal.remove()
  else journal.saveConsent(rest)
  machine.onStep?.('taken back')
}

/** A folder that this attachment made and another needs goes with that one. */
function leaveFolders(tree: FileTree, { madeFolders }: Attachment, others: Attachments): void {
  const [heir] = Object.values(others)
  if (heir === undefined) return
  heir.madeFolders = [...madeFolders.filter((folder) => tree.stat(folder) !== undefined), ...heir.madeFolders]
}

export async function takeBackInterrupted(machine: Machine, tree: FileTree, journal: Journal): Promise<void> {
  for (const [name, { phase }] of Object.entries(journal.load())) {
    if (phase === 'attached') continue
    await takeBack(machine, { tree, journal, runtime: name as RuntimeName })
    machine.print(`An earlier command was interrupted. What it did to ${name} was taken back.\n`)
  }
}
