import { dirname } from 'node:path'
import { unprivilegedPortsFrom } from '../../core/unprivileged-ports.ts'
import { UnattachedView } from './attached-view.ts'
import { AttachFileError, AttachUnsupportedError } from './errors.ts'
import { FileTree, isSame } from './file-tree.ts'
import {
  type Attachment,
  type Attachments,
  type EditRecord,
  type Journal,
  ownerOf,
  type RuntimeName,
} from './journal.ts'
import { withOwnListeners } from './node-settings.ts'
import type { Plan, RuntimeKind } from './plan.ts'
import { type AuthorityPlace, authorityPlace } from './public-authority.ts'
import type { AttachOptions, Machine } from './surroundings.ts'
import { SYSTEM_TRUST_NOTE, systemTrust } from './system-trust.ts'
import { planText } from './words.ts'

/** What an attachment would change, compared with what is there. Writes nothing. */

export interface Prepared {
  plan: Plan
  /** The ones that the plan was made with. */
  options: AttachOptions
  authority: AuthorityPlace
  /** Trust files will lead to a copy of it. */
  isAuthorityPublic: boolean
  edits: EditRecord[]
  shown: string
  /** The runtime is attached exactly so already. */
  isDone: boolean
}

export interface Request<Facts> {
  machine: Machine
  kind: RuntimeKind<Facts>
  options: AttachOptions
  journal: Journal
}

export async function prepare<Facts>({
  machine,
  kind,
  options: asked,
  journal,
}: Request<Facts>): Promise<Prepared> {
  const attachments = journal.load()
  const current = attachments[kind.name]
  const view = new UnattachedView(machine.root, current?.edits ?? [])
  const authority = authorityPlace(view, asked.authorityFile)
  const options = {
    ...(kind.hasOwnListeners ? withOwnListeners(asked, listenersOf(attachments)) : asked),
    authorityFile: authority.file,
  }
  const surroundings = { tree: view, run: machine.run, hostname: machine.hostname }
  const plan = kind.plan(await kind.gather(surroundings, options.registries), options)
  if (options.isSystemTrusted) addSystemTrust(plan, view, authority)
  plan.notes.push(...openPortNotes(plan.listeners))
  const isAuthorityPublic = requireAuthority(view, plan, authority)
  const edits = recordsOf(kind.name, plan, view, attachments)
  const tree = new FileTree(machine.root)
  const isWritten = edits.every(({ path, after }) => isSame(tree.read(path), after))
  const isPublished = !isAuthorityPublic || tree.textOfNode(authority.file) !== undefined
  const isDone =
    current?.phase === 'attached' &&
    isWritten &&
    isPublished &&
    isSameWork(current, { plan, edits, isAuthorityPublic, options })
  const published = isAuthorityPublic && !isPublished ? authority : undefined
  const shown = planText({ plan, edits, tree, options, published, runtime: kind.name })
  return { plan, options, authority, isAuthorityPublic, edits, isDone, shown }
}

function addSystemTrust(plan: Plan, view: FileTree, { file, source }: AuthorityPlace): void {
  if ([file, source, dirname(source)].some((path) => ownerOf(view, path) !== undefined)) {
    throw new AttachUnsupportedError(
      'the node runs as a user of its own, who could then sign for every name',
      {
        hint: 'Leave --system-trust out. Nothing was changed.',
      },
    )
  }
  const { edit, command } = systemTrust(view, file)
  plan.edits.push(edit)
  plan.commands.push(command)
  plan.notes.push(SYSTEM_TRUST_NOTE)
}

/**
 * A link to an authority that is not there fails every pull of its registry.
 * @returns whether links lead to a copy of it
 */
function requireAuthority(view: FileTree, { edits }: Plan, { source, file, pem }: AuthorityPlace): boolean {
  const isLinked = edits.some(({ after }) => 'link' in after)
  if (!isLinked) return false
  const isPublic = file !== source
  if (isPublic ? pem !== undefined : view.textOfNode(source) !== undefined) return isPublic
  throw new AttachFileError(`the node's authority is not there: ${source}`, {
    hint: 'Start `shoal node` first, or name the file with --authority-file. Nothing was changed.',
  })
}

/** As the condition MIRROR_PORT_OPEN. */
function openPortNotes(listeners: string[]): string[] {
  const open = listeners.filter((place) => Number(/\d+$/.exec(place)?.[0]) >= unprivilegedPortsFrom())
  if (open.length === 0) return []
  return [
    `Any user of this machine can take ${open.join(', ')} while the node is down, and would then receive the credentials of pulls. Choose ports below 1024 (--mirror).`,
  ]
}

function listenersOf(attachments: Attachments): string[] {
  return Object.values(attachments).flatMap(({ listeners = [] }) => listeners)
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
        hint: `It leads to ${before.link}. Shoal follows no links, and replaces only its own. Nothing was changed.`,
      })
    }
    return [{ ...edit, before }]
  })
}

function isSameWork(
  current: Attachment,
  { plan, edits, isAuthorityPublic, options }: Omit<Prepared, 'isDone' | 'shown' | 'authority'>,
): boolean {
  const text = (all: EditRecord[]) => JSON.stringify(all.map(({ path, after }) => [path, after]).sort())
  const names = (all: string[] = []) => [...all].sort().join()
  return (
    text(current.edits) === text(edits) &&
    names(current.registries) === names(options.registries) &&
    names(current.listeners) === names(plan.listeners) &&
    (current.isAuthorityPublic ?? false) === isAuthorityPublic
  )
}
