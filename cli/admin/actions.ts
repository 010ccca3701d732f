import { UsageError } from '../../core/errors.ts'
import { callCommand } from './call-command.ts'

/** What an administrator does to nodes, clusters and pulls. */

const nodeText = (input: Record<string, unknown>) => `node ${String(input.node)}`

export const nodeDrainCommand = callCommand('nodes.drain', {
  view: (_, { input }) => [`${nodeText(input)} is drained: it is named to nobody as a peer`],
})

export const nodeUndrainCommand = callCommand('nodes.undrain', {
  view: (_, { input }) => [`${nodeText(input)} is named as a peer again`],
})

export const nodeLabelCommand = callCommand('nodes.label', {
  positionals: ['labels…'],
  read: ({ labels, ...given }) => ({ ...given, labels: labelsOf(labels as string[]) }),
  view: ({ labels }, { input }) => {
    const all = Object.entries(labels).map(([name, value]) => `${name}=${value}`)
    return [`${nodeText(input)} has ${all.length === 0 ? 'no labels' : `the labels ${all.join(' ')}`}`]
  },
})

/** `zone=a rack=r12`; `none` alone removes all. @throws UsageError */
function labelsOf(words: readonly string[]): Record<string, string> {
  if (words.length === 1 && words[0] === 'none') return {}
  const pairs = words.map((word) => {
    const at = word.indexOf('=')
    if (at > 0) return [word.slice(0, at), word.slice(at + 1)]
    throw new UsageError(`not a label: ${word.slice(0, 80)}`, { hint: 'Write zone=a rack=r12, or none.' })
  })
  return Object.fromEntries(pairs)
}

export const nodeForgetCommand = callCommand('nodes.forget', {
  view: (_, { input }) => [`${nodeText(input)} is forgotten; if it is still there, it must join again`],
})

export const nodePauseCommand = callCommand('nodes.pause', {
  view: (_, { input }) => [`${nodeText(input)} is paused: it pulls from registries after its next heartbeat`],
})

export const nodeResumeCommand = callCommand('nodes.resume', {
  view: (_, { input }) => [`${nodeText(input)} is no longer paused by itself`],
})

export const nodeRevokeCommand = callCommand('revocations.create', {
  positionals: ['node'],
  without: ['pull'],
  view: ({ revocation }, { input }) => [
    `${nodeText(input)} is revoked; \`shoal admin node reinstate ${revocation}\` undoes it`,
  ],
})

export const pullRevokeCommand = callCommand('revocations.create', {
  positionals: ['pull'],
  without: ['node'],
  view: ({ revocation }) => [
    `the pull is revoked, and the subject of its token barred; \`shoal admin node reinstate ${revocation}\` undoes it`,
  ],
})

export const reinstateCommand = callCommand('revocations.clear', {
  view: ({ revocation }) => [`revocation ${revocation} is cleared`],
})

export const pauseOnCommand = callCommand('clusters.pause', {
  view: ({ cluster }) => [
    `cluster ${cluster} is paused: all its nodes pull from registries after their next heartbeat`,
  ],
})

export const pauseOffCommand = callCommand('clusters.resume', {
  view: ({ cluster }) => [`cluster ${cluster} is no longer paused; nodes that are paused one by one stay so`],
})
