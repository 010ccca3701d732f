import type { Entry } from './command-tree.ts'

/** `shoal pause` and `shoal resume`. Part of cli/tree.ts. */

export const PAUSE: Entry = {
  name: 'pause',
  summary:
    'Lets the node of this machine stand aside: pulls go directly to their registries. Lasts until `shoal resume`.',
  examples: [
    { line: 'shoal pause', does: 'No runtime restarts; a node that is down is paused when it starts.' },
    { line: 'shoal pause --data-dir /srv/shoal', does: 'For a node with another data folder.' },
  ],
  command: async () => (await import('./pause.ts')).pauseCommand,
}

export const RESUME: Entry = {
  name: 'resume',
  summary: 'Ends what `shoal pause` began.',
  examples: [{ line: 'shoal resume', does: 'The next pull goes through the node again.' }],
  command: async () => (await import('./pause.ts')).resumeCommand,
}
