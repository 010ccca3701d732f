import type { RegistryHost } from '../../core/repository.ts'
import type { CheckAnswer } from './check.ts'
import type { Content, FileTree } from './file-tree.ts'
import { type Attachment, type Attachments, type EditRecord, type RuntimeName, STATE_DIR } from './journal.ts'
import type { Plan, Settings } from './plan.ts'
import { restorationOf } from './restore.ts'
import { unifiedDiff } from './unified-diff.ts'

/** What a person reads. Prose and tables within 80 columns; differences as they are. */

const WIDTH = 80

interface Planned {
  plan: Plan
  edits: EditRecord[]
  tree: FileTree
  options: Settings
  runtime: RuntimeName
}

export function planText({ plan, edits, tree, options, runtime }: Planned): string {
  const { upstream } = plan
  const chained = upstream && [
    `It uses the proxy ${withoutPassword(upstream.proxy)}. The node goes through that one from its next start on: pulls take the same way as before.`,
  ]
  return sections([
    `${runtime}: ${plan.found}\nregistries: ${options.registries.join(', ')}\nthrough: ${throughOf(options)}`,
    withoutPasswords(edits.map((edit) => changeText(edit.path, tree.read(edit.path), edit.after)).join('')),
    ...[...(chained ?? []), ...plan.notes].map(wrapped),
    plan.restart.length === 0 ? '' : `Afterwards, when it suits you:\n${indented(plan.restart)}`,
  ])
}

function throughOf({ via, proxyUrl, mirrorUrl }: Settings): string {
  return via === 'proxy' ? `the node's proxy, ${proxyUrl}` : `the node's mirror endpoint, ${mirrorUrl}`
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
}: {
  plan: Plan
  runtime: RuntimeName
  checked: [RegistryHost, CheckAnswer][]
  options: Settings
}): string {
  const isUnshared = checked.some(([, { isShared }]) => !isShared)
  return sections([
    `${runtime} is attached. \`shoal detach ${runtime}\` takes it back.`,
    checked.map(([registry, answer]) => checkLine(registry, answer, options)).join('\n'),
    isUnshared
      ? wrapped(
          'What is not shared yet: start `shoal node` again, so that it learns which registries it may intercept.',
        )
      : '',
    plan.restart.length === 0
      ? wrapped('It counts from the next pull on.')
      : `To make it count:\n${indented(plan.restart)}`,
  ])
}

function checkLine(
  registry: RegistryHost,
  { isShared, isWithoutLogin }: CheckAnswer,
  { via }: Settings,
): string {
  const login = isWithoutLogin ? ', asked without a login' : ''
  return `  ${registry}  answers through the ${via}${login}${isShared ? '' : '; not shared yet'}`
}

export function checkText({ via, proxyUrl, mirrorUrl }: Settings): string {
  return via === 'proxy'
    ? `Is \`shoal node\` running, with its proxy at ${proxyUrl}?`
    : `Is \`shoal node\` running, with its mirror endpoint at ${mirrorUrl}?`
}

export function restorePlanText(tree: FileTree, { edits }: Attachment): string {
  const texts = edits.map((edit) => {
    const found = tree.read(edit.path)
    const what = restorationOf(edit, found)
    if (what.kind === 'conflict') return what.diff
    if (what.kind === 'keep') return ''
    const after =
      what.kind === 'merge' ? { text: what.text } : what.kind === 'remove' ? undefined : edit.before
    const edited = what.kind === 'merge' ? `# ${edit.path} was edited since: that edit stays\n` : ''
    return edited + changeText(edit.path, found, after)
  })
  return sections([texts.join('')])
}

export function detachedText(runtime: RuntimeName, { restart }: Attachment): string {
  return sections([
    `${runtime} is detached: every file is as it was.`,
    restart.length === 0 ? '' : `It goes through Shoal until you run:\n${indented(restart)}`,
  ])
}

export function listText(tree: FileTree, attachments: Attachments): string {
  const all = Object.entries(attachments)
  if (all.length === 0) return 'Nothing is attached.\n'
  const blocks = all.map(([runtime, { phase, since, registries, via, edits }]) => {
    const state =
      phase === 'attached'
        ? `since ${since.slice(0, 16).replace('T', ' ')} UTC`
        : 'interrupted: run it again, or detach'
    return [
      `${runtime}  by ${via}, ${state}`,
      `  registries  ${registries.join(', ')}`,
      ...edits.map((edit) => `  ${edit.path}${stateOf(edit, tree.read(edit.path))}`),
    ].join('\n')
  })
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
  const lines: string[] = ['']
  for (const word of text.split(' ')) {
    const longer = lines.at(-1) === '' ? word : `${lines.at(-1)} ${word}`
    if (longer.length <= WIDTH) lines[lines.length - 1] = longer
    else lines.push(word)
  }
  return lines.join('\n')
}
