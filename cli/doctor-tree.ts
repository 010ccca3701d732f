import type { Entry } from './command-tree.ts'

/** `shoal doctor`. Part of cli/tree.ts. */

export const DOCTOR: Entry = {
  name: 'doctor',
  summary: 'Finds what keeps this machine from sharing, and says how to fix it.',
  examples: [
    {
      line: 'shoal doctor',
      does: 'Looks at everything as root, and as another user at what that one may see.',
    },
    { line: 'shoal doctor --json', does: 'For scripts: exits with 0, 1 (errors) or 3 (warnings only).' },
    {
      line: 'shoal doctor --node 0123456789abcdef0123456789abcdef01234567',
      does: 'Says whether that node is reached, from the tracker and from here.',
    },
  ],
  exits: { 1: 'something is wrong: pulls fail, or nothing is shared', 3: 'there are warnings only' },
  command: async () => (await import('./doctor/command.ts')).doctorCommand,
}
