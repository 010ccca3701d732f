import { PUBLIC_AUTHORITY } from '../../core/consent.ts'
import type { RegistryHost } from '../../core/repository.ts'
import { utcText } from '../../core/time-text.ts'
import { filledLines } from '../table.ts'
import type { CheckAnswer } from './check.ts'
import type { Content, FileTree } from './file-tree.ts'
import { type Attachment, type Attachments, type EditRecord, type RuntimeName, STATE_DIR } from './journal.ts'
import type { Plan, Settings } from './plan.ts'
import type { AuthorityPlace } from './public-authority.ts'
import { restorationOf } from './restore.ts'
import { unifiedDiff } from './unified-diff.ts'

/** What a person reads. Prose and tables within 80 columns; differences as they are. */

const WIDTH = 80

interface Planned {
  plan: Plan
  edits: EditRecord[]
  tree: FileTree
  options: Settings
  /** A copy that will be made. */
  published: AuthorityPlace | undefined
  runtime: RuntimeName
}

export function planText({ plan, edits, tree, options, published, runtime }: Planned): string {
  const { upstream } = plan
  const chained = upstream && [
    `Until now ${runtime} used the proxy ${withoutPassword(upstream.proxy)}. The node uses that proxy from its next start on, so that pulls take the same way as before.`,
  ]
  return sections([
    [`${runtime}: ${plan.found}`, `registries: ${options.registries.join(', ')}`, throughOf(plan, options)]
      .map(wrapped)
      .join('\n'),
    published === undefined
      ? ''
      : `+ ${published.file}\n  a copy of ${published.source}, which the node keeps up to date`,
    withoutPasswords(edits.map((edit) => changeText(edit.path, tree.read(edit.path), edit.after)).join('')),
    ...[...(chained ?? []), ...plan.notes].map(wrapped),
    plan.restart.length === 0 ? '' : `Afterwards, at a time that suits you:\n${indented(plan.restart)}`,
  ])
}

function throughOf({ listeners }: Plan, { via, proxyUrl }: Settings): string {
  const mirror = listeners.length === 0 ? '' : `the node's mirror, which it opens at ${listeners.join(', ')}`
  const proxy = via === 'proxy' ? `the node's proxy, ${proxyUrl}` : ''
  return `through: ${[proxy, mirror].filter((one) => one !== '').join('; ')}`
}

export function changeText(path: string, before: Content, after: Content): string {
  const isLink = [before, after].some((one) => one !== undefined && 'link' in one)
  if (!isLink) return unifiedDiff(path, textOf(before), textOf(after))
  if (JSON.stringify(before) === JSON.stringify(after)) return ''
  const line = (sign: string, one: Content) =>
    one === undefined ? '' : `${sign} ${path}${'link' in one ? ` -> ${one.link}` : ' (a file)'}\n`
  return line('-', before) + line('+', after)
}

export function attachedText({
  plan,
  runtime,
  checked,
  options,
  isRestarted,
}: {
  plan: Plan
  runtime: RuntimeName
  checked: [RegistryHost, CheckAnswer][]
  options: Settings
  isRestarted: boolean
}): string {
  const isUnshared = checked.some(([, { isShared }]) => !isShared)
  return sections([
    `${runtime} is attached. \`shoal detach ${runtime}\` takes it back.`,
    checked.map(([registry, answer]) => checkLine(registry, answer, options)).join('\n'),
    isUnshared ? wrapped('Not shared yet: the node does not intercept that registry. Its log says why.') : '',
    isRestarted || plan.restart.length === 0
      ? 'This takes effect with the next pull.'
      : `For this to take effect, run:\n${indented(plan.restart)}`,
  ])
}

function checkLine(
  registry: RegistryHost,
  { isShared, isWithoutLogin }: CheckAnswer,
  { via }: Settings,
): string {
  const more = [isWithoutLogin ? 'asked without a login' : '', isShared ? '' : 'not shared yet']
  const line = `  ${registry}  answers through the ${via}`
  return [line, ...more.filter((one) => one !== '').map((one) => `    ${one}`)].join('\n')
}

export function checkText({ via, proxyUrl }: Settings): string {
  return via === 'proxy'
    ? `Is \`shoal node\` running, with its proxy at ${proxyUrl}?`
    : 'Is `shoal node` running? Its log says whether it could open the mirror (ATTACHED_LATER).'
}

export function restorePlanText(tree: FileTree, { edits, isAuthorityPublic }: Attachment): string {
  const texts = edits.map((edit) => {
    const found = tree.read(edit.path)
    const what = restorationOf(edit, found)
    if (what.kind === 'conflict')
      return `# somebody edited the lines that Shoal wrote in ${edit.path}:\n${what.diff}`
    if (what.kind === 'keep') return ''
    const after =
      what.kind === 'merge' ? { text: what.text } : what.kind === 'remove' ? undefined : edit.before
    const edited = what.kind === 'merge' ? `# somebody edited ${edit.path} since; that edit stays:\n` : ''
    return edited + changeText(edit.path, found, after)
  })
  const copy = isAuthorityPublic ? `- ${PUBLIC_AUTHORITY}, when no other runtime needs it` : ''
  return sections([texts.join(''), copy])
}

export function detachedText(runtime: RuntimeName, { restart }: Attachment): string {
  return sections([
    `${runtime} is detached. Every file is as before.`,
    restart.length === 0 ? '' : `It may still pull through Shoal until you run:\n${indented(restart)}`,
  ])
}

export function listText(tree: FileTree, attachments: Attachments): string {
  const all = Object.entries(attachments)
  if (all.length === 0) return 'Nothing is attached.\n'
  const blocks = all.map(
    ([runtime, { phase, since, registries, via, edits, listeners = [], isAuthorityPublic }]) => {
      const state = phase === 'attached' ? `since ${utcText(since)}` : 'interrupted: run it again, or detach'
      return [
        `${runtime}  by ${via}, ${state}`,
        `  registries  ${registries.join(', ')}`,
        ...(listeners.length === 0 ? [] : [`  mirror      ${listeners.join(', ')}`]),
        ...edits.map((edit) => `  ${edit.path}${stateOf(edit, tree.read(edit.path))}`),
        ...(isAuthorityPublic ? [`  ${PUBLIC_AUTHORITY}`] : []),
      ].join('\n')
    },
  )
  return sections([...blocks, `What was there before is in ${STATE_DIR}.`])
}

function stateOf({ after }: EditRecord, found: Content): string {
  if (found === undefined) return '  (missing)'
  return JSON.stringify(found) === JSON.stringify(after) ? '' : '  (edited since)'
}

export function withoutPassword(url: string): string {
  return url.replace(/\/\/[^/@]*@/, '//…@')
}

/** A text that somebody reads over a shoulder, or pastes. */
function withoutPasswords(text: string): string {
  return text.replaceAll(/\/\/[^/@\s"']*@/g, '//…@')
}

function textOf(content: Content): string | undefined {
  return content !== undefined && 'text' in content ? content.text : undefined
}

function indented(lines: string[]): string {
  return lines.map((line) => `  ${line}`).join('\n')
}

function sections(all: string[]): string {
  const full = all.map((one) => one.trimEnd()).filter((one) => one !== '')
  return full.length === 0 ? '' : `${full.join('\n\n')}\n`
}

function wrapped(text: string): string {
  return filledLines(text.split(' '), WIDTH).join('\n')
}
