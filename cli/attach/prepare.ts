import { UnattachedView } from './attached-view.ts'
import { AttachFileError } from './errors.ts'
import { FileTree, isSame } from './file-tree.ts'
import type { Attachment, Attachments, EditRecord, Journal, RuntimeName } from './journal.ts'
import type { Plan, RuntimeKind, Settings } from './plan.ts'
import type { AttachOptions, Machine } from './surroundings.ts'
import { SYSTEM_TRUST_NOTE, systemTrust } from './system-trust.ts'
import { planText } from './words.ts'

/** What an attachment would change, compared with what is there. Writes nothing. */

export interface Prepared {
  plan: Plan
  edits: EditRecord[]
  shown: string
  /** It is attached just so. */
  isDone: boolean
}

export interface Request<Facts> {
  machine: Machine
  kind: RuntimeKind<Facts>
  options: AttachOptions
  journal: Journal
}

export async function prepare<Facts>({ machine, kind, options, journal }: Request<Facts>): Promise<Prepared> {
  const attachments = journal.load()
  const current = attachments[kind.name]
  const view = new UnattachedView(machine.root, current?.edits ?? [])
  const surroundings = { tree: view, run: machine.run, hostname: machine.hostname }
  const plan = kind.plan(await kind.gather(surroundings, options.registries), options)
  if (options.isSystemTrusted) addSystemTrust(plan, view, options)
  requireAuthority(view, plan)
  const edits = recordsOf(kind.name, plan, view, attachments)
  const tree = new FileTree(machine.root)
  const isWritten = edits.every(({ path, after }) => isSame(tree.read(path), after))
  const isDone = current?.phase === 'attached' && isWritten && isSameWork(current, { edits, options })
  return { plan, edits, isDone, shown: planText({ plan, edits, tree, options, runtime: kind.name }) }
}

function addSystemTrust(plan: Plan, view: FileTree, { authorityFile }: Settings): void {
  const { edit, command } = systemTrust(view, authorityFile)
  plan.edits.push(edit)
  plan.commands.push(command)
  plan.notes.push(SYSTEM_TRUST_NOTE)
}

/** A link to an authority that is not there fails every pull of its registry. */
function requireAuthority(view: FileTree, { edits }: Plan): void {
  const links = edits.flatMap(({ after }) => ('link' in after ? [after.link] : []))
  const missing = links.find((path) => view.text(path) === undefined)
  if (missing !== undefined) {
    throw new AttachFileError(`the node's authority is not there: ${missing}`, {
      hint: 'Start `shoal node` first, or name the file with --authority-file. Nothing was changed.',
    })
  }
  const closed = links.find((path) => !view.isForEverybody(path))
  if (closed === undefined) return
  // Podman and Skopeo of other users read the same folder, and fail on what they may not read.
  throw new AttachFileError(`only root can read the node's authority: ${closed}`, {
    hint: 'Start `shoal node` with --authority-file and a path that every user can read, and name it here too. Nothing was changed.',
  })
}

/** What must change, each with what stands there without this attachment. */
function recordsOf(runtime: RuntimeName, plan: Plan, view: FileTree, attachments: Attachments): EditRecord[] {
  const others = Object.entries(attachments).flatMap(([name, { edits }]) => (name === runtime ? [] : edits))
  return plan.edits.flatMap((edit) => {
    const shared = others.find(({ path, after }) => path === edit.path && isSame(after, edit.after))
    const before = shared === undefined ? view.read(edit.path) : shared.before
    if (isSame(before, edit.after)) return []
    if (before !== undefined && 'link' in before) {
      throw new AttachFileError(`${edit.path} is a link`, {
        hint: `It leads to ${before.link}. Shoal follows no links, and replaces none of somebody else's. Nothing was changed.`,
      })
    }
    return [{ ...edit, before }]
  })
}

function isSameWork(
  current: Attachment,
  { edits, options }: { edits: EditRecord[]; options: Settings },
): boolean {
  const text = (all: EditRecord[]) => JSON.stringify(all.map(({ path, after }) => [path, after]).sort())
  const registries = (all: string[]) => [...all].sort().join()
  return (
    text(current.edits) === text(edits) && registries(current.registries) === registries(options.registries)
  )
}
