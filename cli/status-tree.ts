import type { Entry } from './command-tree.ts'

/** Commands that say how the node of this machine does. Part of cli/tree.ts. */

export const STATUS: Entry = {
  name: 'status',
  summary: 'Says what the node of this machine does, what it shared, and what keeps it from sharing.',
  examples: [
    { line: 'shoal status', does: 'Prints one page.' },
    { line: 'shoal status --watch', does: 'Shows running pulls with bars, until Ctrl-C.' },
    { line: 'shoal status --json', does: 'Prints the same and more for scripts.' },
  ],
  command: async () => (await import('./status.ts')).statusCommand,
}

export const EXPLAIN: Entry = {
  name: 'explain',
  summary:
    'Explains the last pull of an image: what came from where, how long that took, and why the registry stepped in.',
  examples: [
    { line: 'shoal explain registry.example.com/team/app:v1', does: 'By name, as runtimes take it.' },
    {
      line: 'shoal explain sha256:4bcff63911fc',
      does: 'By the digest of a manifest or layer, or its beginning.',
    },
  ],
  command: async () => (await import('./explain.ts')).explainCommand,
}

export const WAIT: Entry = {
  name: 'wait',
  summary: 'Waits for the node of this machine.',
  examples: [{ line: 'shoal wait ready', does: 'Returns once pulls are shared.' }],
  children: [
    {
      name: 'ready',
      summary: 'Returns once pulls through this node are shared, or says why not.',
      examples: [
        { line: 'shoal wait ready', does: 'Waits a minute at most.' },
        { line: 'shoal wait ready --timeout 300', does: 'For scripts that set a machine up.' },
      ],
      command: async () => (await import('./wait-ready.ts')).waitReadyCommand,
    },
  ],
}
