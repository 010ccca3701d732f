import { spawnSync } from 'node:child_process'
import type { FileTree } from './file-tree.ts'
import type { Attachment, Attachments, Journal, RuntimeName } from './journal.ts'
import { restoreEdits } from './restore.ts'
import type { Machine } from './surroundings.ts'

/** Takes whole attachments back, also those that a crash left half done. */

/** Takes one runtime's attachment back, wherever it stands. */
export function takeBack(
  machine: Machine,
  { tree, journal, runtime }: { tree: FileTree; journal: Journal; runtime: RuntimeName },
): void {
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
      journal.save(attachments)
      throw error
    }
    leaveFolders(tree, attachment, others)
    journal.save(others)
    for (const [program, ...argv] of machine.isLive ? attachment.commands : [])
      spawnSync(program!, argv, { stdio: 'ignore', timeout: 60_000 })
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

export function takeBackInterrupted(machine: Machine, tree: FileTree, journal: Journal): void {
  for (const [name, { phase }] of Object.entries(journal.load())) {
    if (phase === 'attached') continue
    takeBack(machine, { tree, journal, runtime: name as RuntimeName })
    machine.print(`An earlier command was interrupted: ${name} was taken back to what it was before.\n\n`)
  }
}
