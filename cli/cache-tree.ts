import type { Entry } from './command-tree.ts'

/** `shoal cache` and `shoal reload`. Part of cli/tree.ts. */

export const CACHE: Entry = {
  name: 'cache',
  summary: 'Shows what the node of this machine keeps for others, and changes it.',
  examples: [
    { line: 'shoal cache ls', does: 'Lists images and blobs.' },
    {
      line: 'shoal cache pin registry.example.com/team/app:v1',
      does: 'Keeps an image whatever else is pulled.',
    },
  ],
  children: [
    {
      name: 'ls',
      summary:
        'Lists what is held: the images whose manifests passed, with --blobs every blob, and how many others hold it.',
      examples: [
        { line: 'shoal cache ls', does: 'Lists the images, the last used first.' },
        { line: 'shoal cache ls --blobs', does: 'Lists the blobs too.' },
        { line: 'shoal cache ls --json', does: 'Prints all of it for scripts.' },
      ],
      command: async () => (await import('./cache/ls.ts')).cacheLsCommand,
    },
    {
      name: 'verify',
      summary:
        'Hashes what is on the disk. Damaged parts are dropped, and fetched again at the next pull; exits with 3 then.',
      examples: [
        { line: 'shoal cache verify', does: 'Reads at most 128 MiB a second, so that pulls go on.' },
        { line: 'shoal cache verify --json', does: 'Prints every blob with what was wrong.' },
      ],
      exits: { 3: 'something was damaged' },
      command: async () => (await import('./cache/verify.ts')).cacheVerifyCommand,
    },
    {
      name: 'prune',
      summary: 'Removes what is neither pinned nor in use: by age, down to a size, or all of it.',
      examples: [
        { line: 'shoal cache prune --unused-for 30d', does: 'Removes what nobody used for thirty days.' },
        { line: 'shoal cache prune --to 5GiB --dry-run', does: 'Tells what would go to leave 5 GiB.' },
        { line: 'shoal cache prune --all', does: 'Removes all that is not pinned.' },
      ],
      command: async () => (await import('./cache/prune.ts')).cachePruneCommand,
    },
    {
      name: 'pin',
      summary: 'Never evicts an image, or a blob, until it is unpinned. Restarts do not change that.',
      examples: [
        {
          line: 'shoal cache pin registry.example.com/team/app:v1',
          does: 'Keeps the image that the tag means now; parts that are missing stay once they are pulled.',
        },
        {
          line: 'shoal cache pin sha256:…',
          does: 'The same by the digest of a manifest, or of one blob.',
        },
      ],
      command: async () => (await import('./cache/pin.ts')).cachePinCommand,
    },
    {
      name: 'unpin',
      summary: 'Ends what `shoal cache pin` began.',
      examples: [
        { line: 'shoal cache unpin registry.example.com/team/app:v1', does: 'It may be evicted again.' },
      ],
      command: async () => (await import('./cache/pin.ts')).cacheUnpinCommand,
    },
  ],
}

export const RELOAD: Entry = {
  name: 'reload',
  summary:
    'Lets the node of this machine read its settings again while pulls run, and says what counts only after a restart.',
  examples: [
    { line: 'shoal reload', does: 'The same as SIGHUP to the node, with an answer.' },
    { line: 'shoal reload --json', does: 'Prints the names of the settings for scripts.' },
  ],
  command: async () => (await import('./reload.ts')).reloadCommand,
}
