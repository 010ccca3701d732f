import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ensureFolder } from '../../core/data-folder.ts'
import { lockDataDir } from '../../core/data-lock.ts'
import type { ShoalError } from '../../core/errors.ts'
import type { RegistryHost } from '../../core/repository.ts'
import { applyEdits } from './apply.ts'
import type { CheckAnswer } from './check.ts'
import { AttachCheckError, AttachDeclinedError, AttachFileError, AttachNotRootError } from './errors.ts'
import { FileTree } from './file-tree.ts'
import {
  type Attachment,
  type Attachments,
  Journal,
  ownerOf,
  type RuntimeName,
  STATE_DIR,
} from './journal.ts'
import type { Plan, RuntimeKind } from './plan.ts'
import { type Prepared, prepare } from './prepare.ts'
import { publishAuthority } from './public-authority.ts'
import type { AttachOptions, Machine } from './surroundings.ts'
import { takeBack, takeBackInterrupted } from './take-back.ts'
import { attachedText, checkText, detachedText, listText, restorePlanText } from './words.ts'

/** Attaches runtimes to this node, and takes it back: what is asked, in which order, and what happens when a step fails. */

export async function attach<Facts>(
  machine: Machine,
  kind: RuntimeKind<Facts>,
  options: AttachOptions,
): Promise<string> {
  requireRoot(machine, options.isDryRun ? 'see' : 'change')
  const tree = new FileTree(machine.root)
  const journal = new Journal(tree)
  if (options.isDryRun) return (await prepare({ machine, kind, options, journal })).shown
  using _ = locked(tree)
  await takeBackInterrupted(machine, tree, journal)
  const prepared = await prepare({ machine, kind, options, journal })
  if (prepared.isDone) return `${prepared.shown}Attached already: nothing to do.\n`
  machine.print(prepared.shown)
  const chosen = await withLiveRestore(machine, options, prepared.plan)
  const final = chosen === options ? prepared : await prepare({ machine, kind, options: chosen, journal })
  if (final !== prepared) machine.print(final.shown)
  await confirm(machine, options, 'Write this?')
  if (machine.isLive) await validate(machine, final)
  return write({ machine, tree, journal, kind, prepared: final })
}

async function withLiveRestore(machine: Machine, options: AttachOptions, plan: Plan): Promise<AttachOptions> {
  if (!plan.offersLiveRestore || options.isYes || machine.ask === undefined) return options
  const isWanted = await machine.ask('Keep containers running while Docker restarts (set live-restore)?')
  return isWanted ? { ...options, liveRestore: true } : options
}

async function confirm(machine: Machine, { isYes }: { isYes: boolean }, question: string): Promise<void> {
  if (isYes) return
  if (machine.ask === undefined) {
    throw new AttachDeclinedError('nobody is there to be asked', {
      hint: 'Give --yes, or run the command in a terminal. Nothing was changed.',
    })
  }
  if (!(await machine.ask(question)))
    throw new AttachDeclinedError('the answer was no', { hint: 'Nothing was changed.' })
}

/** The runtime's own word on a file, before that is written. */
async function validate(machine: Machine, { plan, edits }: Prepared): Promise<void> {
  const { validate: how } = plan
  const edit = edits.find(({ path }) => path === how?.path)
  if (how === undefined || edit === undefined || !('text' in edit.after)) return
  const folder = mkdtempSync(join(tmpdir(), 'shoal-attach-'))
  try {
    const copy = join(folder, 'config')
    writeFileSync(copy, edit.after.text, { mode: 0o600 })
    const refusal = await machine.refusal(how.argv.map((word) => (word === '{}' ? copy : word)))
    if (refusal === undefined) return
    throw new AttachFileError(`${how.argv[0]} refuses ${how.path} as it would be: ${refusal}`, {
      hint: 'Look at the difference above. Nothing was changed.',
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

interface Writing<Facts> {
  machine: Machine
  tree: FileTree
  journal: Journal
  kind: RuntimeKind<Facts>
  prepared: Prepared
}

async function write<Facts>({ machine, tree, journal, kind, prepared }: Writing<Facts>): Promise<string> {
  const { plan, edits, options, authority, isAuthorityPublic } = prepared
  await takeBack(machine, { tree, journal, runtime: kind.name })
  const attachments = journal.load()
  const paths = [...edits.map(({ path }) => path), ...(isAuthorityPublic ? [authority.file] : [])]
  const madeFolders = [
    ...new Set(paths.flatMap((path) => tree.missingFolders(path, { isOfNode: path === authority.file }))),
  ]
  const attachment: Attachment = {
    phase: 'writing',
    since: (machine.now?.() ?? new Date()).toISOString(),
    registries: options.registries,
    via: options.via,
    edits,
    madeFolders,
    commands: plan.commands,
    restart: plan.restart,
    listeners: plan.listeners,
    isAuthorityPublic,
    ...(plan.upstream === undefined ? {} : { upstream: plan.upstream }),
  }
  const save = (phase: Attachment['phase']): Attachments => {
    const all = { ...attachments, [kind.name]: { ...attachment, phase } }
    journal.save(all)
    return all
  }
  const begun = save('writing')
  machine.onStep?.('journal written')
  let checked: [RegistryHost, CheckAnswer][]
  try {
    if (isAuthorityPublic) publishAuthority(tree, authority.pem!, ownerOf(tree, authority.source))
    machine.onStep?.('authority published')
    applyEdits(tree, { edits, madeFolders }, machine.onStep)
    // The node does its part while the registries are checked.
    journal.saveConsent(begun)
    machine.onStep?.('consent written')
    await runAll(machine, plan.commands)
    checked = await checkAll(machine, options)
    save('attached')
    machine.onStep?.('attached')
  } catch (error) {
    await orBoth(error as Error, () => takeBack(machine, { tree, journal, runtime: kind.name }))
    throw error
  }
  const isRestarted = options.isRestarting && (await restartNow(machine, plan.restart))
  return attachedText({ plan, runtime: kind.name, checked, options, isRestarted })
}

/** @returns false if that takes more than services of this machine */
async function restartNow(machine: Machine, lines: string[]): Promise<boolean> {
  // A line may end with what it costs.
  const commands = lines.map((line) => line.split('   ')[0]!.split(' '))
  if (!machine.isLive || commands.some(([program]) => program !== 'systemctl')) return false
  for (const argv of commands) {
    if ((await machine.run(argv)) === undefined)
      throw new AttachCheckError(`it is attached, but ${argv.join(' ')} failed`, {
        hint: 'Run it by hand to see why.',
      })
  }
  return commands.length > 0
}

/** @throws AttachFileError with both reasons, if all cannot be taken back */
async function orBoth(error: Error, back: () => Promise<void>): Promise<void> {
  try {
    await back()
  } catch (cause) {
    const { message, hint } = cause as ShoalError
    throw new AttachFileError(`${error.message}; then ${message}`, {
      cause,
      hint: hint ?? 'Run the command again.',
    })
  }
}

/** @throws AttachCheckError when pulls from a registry would fail */
async function checkAll(machine: Machine, options: AttachOptions): Promise<[RegistryHost, CheckAnswer][]> {
  if (!machine.isLive) return []
  const answers: [RegistryHost, CheckAnswer][] = []
  for (const registry of options.registries) answers.push([registry, await machine.check(registry, options)])
  machine.onStep?.('checked')
  const failed = answers.find(([, { failure }]) => failure !== undefined)
  if (failed === undefined) return answers
  throw new AttachCheckError(
    `${failed[0]} cannot be reached through the ${options.via}: ${failed[1].failure}`,
    {
      hint: `${checkText(options)} All files are as before.`,
    },
  )
}

async function runAll(machine: Machine, commands: string[][]): Promise<void> {
  if (!machine.isLive) return
  for (const argv of commands) {
    if ((await machine.run(argv)) === undefined) {
      throw new AttachCheckError(`${argv.join(' ')} failed`, {
        hint: 'Run it by hand to see why. All files are as before.',
      })
    }
  }
}

export async function detach(
  machine: Machine,
  runtime: RuntimeName,
  { isYes, isDryRun }: { isYes: boolean; isDryRun: boolean },
): Promise<string> {
  requireRoot(machine, isDryRun ? 'see' : 'change')
  const tree = new FileTree(machine.root)
  const journal = new Journal(tree)
  if (isDryRun) {
    const planned = journal.load()[runtime]
    return planned === undefined ? notAttached(runtime) : restorePlanText(tree, planned)
  }
  using _ = locked(tree)
  const attachments = journal.load()
  const attachment = attachments[runtime]
  if (attachment === undefined) {
    if (Object.keys(attachments).length === 0) journal.remove()
    return notAttached(runtime)
  }
  const shown = restorePlanText(tree, attachment)
  machine.print(shown)
  await confirm(machine, { isYes }, 'Take this back?')
  await takeBack(machine, { tree, journal, runtime })
  return detachedText(runtime, attachment)
}

/** One runtime after the other. A failure leaves the rest attached; run again, the command goes on with them. */
export async function detachAll(
  machine: Machine,
  options: { isYes: boolean; isDryRun: boolean },
): Promise<string> {
  requireRoot(machine, options.isDryRun ? 'see' : 'change')
  const attached = new Journal(new FileTree(machine.root)).load()
  const texts: string[] = []
  for (const runtime of Object.keys(attached) as RuntimeName[]) {
    texts.push(await detach(machine, runtime, options))
  }
  return texts.length === 0 ? 'Nothing is attached: nothing to do.\n' : texts.join('\n')
}

function notAttached(runtime: RuntimeName): string {
  return `${runtime} is not attached: nothing to do.\n`
}

export function listAttachments(machine: Machine, isJson: boolean): string {
  requireRoot(machine, 'see')
  const tree = new FileTree(machine.root)
  const attachments = new Journal(tree).load()
  return isJson ? `${JSON.stringify(publicOf(attachments), null, 2)}\n` : listText(tree, attachments)
}

/** Without the texts of files, which may hold passwords. */
function publicOf(attachments: Attachments) {
  return Object.entries(attachments).map(([runtime, { phase, since, registries, via, edits }]) => ({
    ...{ runtime, phase, since, registries, via },
    files: edits.map(({ path }) => path),
  }))
}

function requireRoot({ isRoot, isLive }: Machine, verb: 'see' | 'change'): void {
  if (isRoot || !isLive) return
  throw new AttachNotRootError(`only root can ${verb} what runtimes are attached to`, {
    hint: 'Run the command with sudo. Nothing was changed.',
  })
}

function locked(tree: FileTree): Disposable {
  const dir = tree.real(STATE_DIR)
  ensureFolder(dir, { mode: 0o755 })
  const unlock = lockDataDir(dir)
  return {
    [Symbol.dispose]: () => {
      unlock()
      new Journal(tree).removeIfEmpty()
    },
  }
}
