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
  exits: { 3: 'the node answers and something is not shared', 4: 'the node is down and its relay answers' },
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

export const BUGREPORT: Entry = {
  name: 'bugreport',
  summary:
    'Packs what a maintainer needs into one archive: settings, status, log. Without secrets; lists it first, and asks.',
  examples: [
    { line: 'shoal bugreport', does: 'Writes shoal-bugreport-….tar.gz into this folder.' },
    { line: 'shoal bugreport --yes --output /tmp/report.tar.gz', does: 'Asks nothing.' },
  ],
  command: async () => (await import('./bugreport.ts')).bugreportCommand,
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
      exits: { 3: 'the node was not ready in time' },
      command: async () => (await import('./wait-ready.ts')).waitReadyCommand,
    },
  ],
}
