import type { Entry } from './command-tree.ts'

/** `shoal attach` and `shoal detach`: what runtimes of this machine pull through the node. Part of cli/tree.ts. */

const SUMMARIES = {
  docker: 'Docker: pulls, builds, Compose and Swarm services go through the proxy of the node.',
  containerd: 'Containerd and its CRI: pulls ask the mirror endpoint of the node first.',
  podman: 'Podman, Buildah and Skopeo: pulls go through the proxy of the node.',
  'cri-o': 'CRI-O: pulls ask the mirror endpoint of the node first.',
  buildkit: 'A buildkitd of its own: pulls ask the mirror endpoint of the node first.',
} as const

type Name = keyof typeof SUMMARIES
const NAMES = Object.keys(SUMMARIES) as Name[]

export const ATTACH: Entry = {
  name: 'attach',
  summary:
    'Lets a container runtime of this machine pull through the node. Shows each change and asks first.',
  examples: [
    {
      line: 'shoal attach docker --registry registry.example.com',
      does: 'Shows the changes, asks, writes them, and checks that the registry answers; else all is as before.',
    },
    {
      line: 'shoal attach containerd --registry registry.example.com --dry-run',
      does: 'Only shows the changes.',
    },
    { line: 'shoal attach --list', does: 'Lists what is attached.' },
  ],
  command: async () => (await import('./attach/commands.ts')).listCommand,
  children: NAMES.map((name) => ({
    name,
    summary: SUMMARIES[name],
    examples: [
      { line: `shoal attach ${name} --registry registry.example.com`, does: 'Shows the changes and asks.' },
      {
        line: `shoal attach ${name} --registry registry.example.com --yes`,
        does: 'For scripts; a second run changes nothing.',
      },
    ],
    command: async () => (await import('./attach/commands.ts')).attachCommand(name),
  })),
}

export const DETACH: Entry = {
  name: 'detach',
  summary: 'Takes back what `shoal attach` did: every file is as it was before, byte for byte.',
  examples: [
    { line: 'shoal detach docker', does: 'Shows what will change, and asks.' },
    { line: 'shoal detach --all', does: 'The same for every runtime that is attached.' },
  ],
  command: async () => (await import('./attach/commands.ts')).detachAllCommand,
  children: NAMES.map((name) => ({
    name,
    summary: `Takes back what \`shoal attach ${name}\` did.`,
    examples: [
      { line: `shoal detach ${name}`, does: 'Shows what will change, and asks.' },
      { line: `shoal detach ${name} --yes`, does: 'For scripts.' },
    ],
    command: async () => (await import('./attach/commands.ts')).detachCommand(name),
  })),
}
