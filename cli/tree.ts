import { type Entry, program } from './command-tree.ts'

/**
 * Every command of `shoal`. A node must not pay for what only a tracker or a tool needs: nothing is imported here but when
 * an entry is run or explained.
 */

const NODE: Entry = {
  name: 'node',
  summary: 'Runs on every node: the proxy that Docker pulls through, and the transfers between nodes.',
  examples: [
    {
      line: 'shoal node --tracker-url https://tracker.example.com:7443 --join-token-file join-token',
      does: 'Joins a cluster and serves Docker on 127.0.0.1:7070. Later starts need no join token.',
    },
    { line: 'shoal node --config-file /etc/shoal/node.json', does: 'Takes all settings from a file.' },
  ],
  program: async () => {
    const { nodeConfig } = await import('../node/config.ts')
    return program({
      schema: nodeConfig,
      start: async (config, log) => (await import('../node/main.ts')).startNode(config, log),
    })
  },
}

const TRACKER: Entry = {
  name: 'tracker',
  summary: 'Runs once per site: clusters, pull certificates, piece hashes, who has what.',
  examples: [
    {
      line: 'shoal tracker --tls-cert-file tracker.crt --tls-key-file tracker.key --unlock-key-file unlock.key',
      does: 'Starts a tracker with the files of `shoal certs`.',
    },
    {
      line: 'shoal tracker --config-file /etc/shoal/tracker.json',
      does: 'Takes all settings from a file; without unlockKeyFile it waits for `shoal tracker unlock`.',
    },
  ],
  program: async () => {
    const { trackerConfig } = await import('../tracker/config.ts')
    return program({
      schema: trackerConfig,
      start: async (config, log) => (await import('../tracker/main.ts')).runTracker(config, log),
    })
  },
  children: [
    {
      name: 'unlock',
      summary:
        'Gives a tracker that was started without its unlock key that key, on the tracker’s own machine.',
      examples: [
        { line: 'shoal tracker unlock < unlock.key', does: 'Reads the key from standard input.' },
        {
          line: 'shoal tracker unlock --data-dir /srv/tracker --unlock-key-file unlock.key',
          does: 'Reads it from a file, for a tracker with another data folder.',
        },
      ],
      oldNames: ['certs unlock'],
      command: async () => (await import('../certs-tool/commands/unlock.ts')).unlockCommand,
    },
  ],
}

const UP: Entry = {
  name: 'up',
  summary: 'Tracker and node in one process, for one machine; makes everything it needs at the first start.',
  examples: [
    {
      line: 'shoal up --registries registry.example.com',
      does: 'Starts both, and says how to point Docker at them.',
    },
    {
      line: 'shoal up --listen 0.0.0.0:7443 --registries registry.example.com',
      does: 'Lets other machines join.',
    },
  ],
  program: async () => {
    const { startUp, upConfig } = await import('./up.ts')
    return program({ schema: upConfig, start: (config, log) => startUp(config, log) })
  },
}

const ADMIN_CLUSTER: Entry = {
  name: 'cluster',
  summary: 'Clusters of a running tracker.',
  examples: [{ line: 'shoal admin cluster create main --out join-token', does: 'Creates one.' }],
  children: [
    {
      name: 'create',
      summary: 'Creates a cluster on a running tracker and prints its join token, once: nothing stores it.',
      examples: [
        {
          line: 'shoal admin cluster create main --out join-token',
          does: 'Writes the join token to a file.',
        },
        {
          line: 'shoal admin cluster create main --valid-hours 24',
          does: 'The join token ends after a day.',
        },
      ],
      oldNames: ['certs cluster'],
      command: async () => (await import('../certs-tool/commands/cluster.ts')).clusterCommand,
    },
  ],
}

const ADMIN_TOKEN: Entry = {
  name: 'token',
  summary: 'Join tokens: what a machine needs to become a node of a cluster.',
  examples: [{ line: 'shoal admin token rotate c0123456789abcdef', does: 'Replaces a join token.' }],
  children: [
    {
      name: 'rotate',
      summary:
        "Replaces a cluster's join token and prints the new one, once. The old one ends; nodes that joined stay.",
      examples: [
        {
          line: 'shoal admin token rotate c0123456789abcdef --valid-hours 24 --out join-token',
          does: 'The new token is written to a file and ends after a day.',
        },
      ],
      oldNames: ['certs join-token'],
      command: async () => (await import('../certs-tool/commands/join-token.ts')).joinTokenCommand,
    },
  ],
}

const ADMIN_KEY_ROTATE: Entry = {
  name: 'rotate',
  summary: 'Changes keys of a running tracker. The previous key is withdrawn by itself later.',
  examples: [
    {
      line: 'shoal admin key rotate authority c0123456789abcdef',
      does: 'Begins to change the authority of a cluster.',
    },
  ],
  oldNames: ['certs rotate'],
  children: [
    {
      name: 'authority',
      summary:
        'Gives a cluster a new authority while it runs. The previous one stays trusted for a day, or until --withdraw.',
      examples: [
        {
          line: 'shoal admin key rotate authority c0123456789abcdef',
          does: 'Begins the change; nodes renew by themselves.',
        },
        {
          line: 'shoal admin key rotate authority c0123456789abcdef --leaked',
          does: 'Begins it because somebody else has the key: every node joins again.',
        },
        {
          line: 'shoal admin key rotate authority c0123456789abcdef --withdraw',
          does: 'Ends the change once nodes have renewed.',
        },
      ],
      oldNames: ['certs rotate-authority'],
      command: async () => (await import('../certs-tool/commands/rotate.ts')).rotateAuthorityCommand,
    },
    {
      name: 'signing-key',
      summary:
        'Gives a cluster a new key for piece hashes and peer tokens while it runs. The previous one counts for a day, or until --withdraw.',
      examples: [
        { line: 'shoal admin key rotate signing-key c0123456789abcdef', does: 'Begins the change.' },
        {
          line: 'shoal admin key rotate signing-key c0123456789abcdef --leaked',
          does: 'The previous key ends as soon as the new one signs.',
        },
      ],
      command: async () => (await import('../certs-tool/commands/rotate.ts')).rotateSigningKeyCommand,
    },
    {
      name: 'admin',
      summary:
        'Gives the admin API a new authority. Certificates of the previous one count for a day, or until --withdraw.',
      examples: [
        {
          line: 'shoal admin key rotate admin --leaked',
          does: 'Ends all certificates of administrators at once.',
        },
      ],
      command: async () => (await import('../certs-tool/commands/rotate.ts')).rotateAdminCommand,
    },
  ],
}

const ADMIN_KEY: Entry = {
  name: 'key',
  summary: 'Keys of clusters and of the admin API, and keys of registries that the tracker trusts.',
  examples: [{ line: 'shoal admin key trusted', does: 'Lists keys of registry tokens.' }],
  children: [
    ADMIN_KEY_ROTATE,
    {
      name: 'trusted',
      summary:
        'Lists the keys of registry tokens that a tracker came to trust by asking the registry, and withdraws one.',
      examples: [
        { line: 'shoal admin key trusted', does: 'Lists them with their ids.' },
        {
          line: 'shoal admin key trusted --withdraw 0123456789abcdef',
          does: 'Pulls under this key end, and it is not trusted again.',
        },
      ],
      oldNames: ['certs token-keys'],
      command: async () => (await import('../certs-tool/commands/token-keys.ts')).tokenKeysCommand,
    },
  ],
}

const ADMIN: Entry = {
  name: 'admin',
  summary:
    'Administers a running tracker: through the socket in its data folder, or over TLS with --admin-pem.',
  examples: [
    {
      line: 'shoal admin cluster create main --out join-token',
      does: 'Creates a cluster on the tracker of this machine.',
    },
    {
      line: 'shoal admin key trusted --admin-pem admin.pem --admin-url https://127.0.0.1:7444',
      does: 'Asks over TLS, with a file of `shoal admin certificate`.',
    },
  ],
  children: [
    ADMIN_CLUSTER,
    ADMIN_TOKEN,
    ADMIN_KEY,
    {
      name: 'certificate',
      summary:
        'Makes an administrator’s key and certificate for the admin API over TLS. It ends after hours; the tracker keeps no copy.',
      examples: [
        { line: 'shoal admin certificate --valid-hours 8', does: 'Writes admin.pem, valid for 8 hours.' },
      ],
      oldNames: ['certs admin-certificate'],
      command: async () =>
        (await import('../certs-tool/commands/admin-certificate.ts')).adminCertificateCommand,
    },
    {
      name: 'reseal',
      summary:
        "Seals a running tracker's secrets anew: with a new data key, and if you like under another unlock key.",
      examples: [
        {
          line: 'shoal admin reseal --unlock-key-file unlock.key --new-unlock-key-file next.key',
          does: 'Changes both keys; next.key is of `shoal certs unlock-key --out next.key`.',
        },
      ],
      oldNames: ['certs reseal'],
      command: async () => (await import('../certs-tool/commands/reseal.ts')).resealCommand,
    },
  ],
}

const CERTS: Entry = {
  name: 'certs',
  summary: 'Makes what a tracker needs before its first start, and explains certificates in plain words.',
  examples: [
    { line: 'shoal certs authority', does: 'Writes authority.crt and authority.key into this folder.' },
    { line: 'shoal certs inspect tracker.crt', does: 'Explains a certificate.' },
  ],
  children: [
    {
      name: 'authority',
      summary: "Makes an authority for the tracker's HTTPS certificate, for labs and sites that have none.",
      examples: [
        {
          line: 'shoal certs authority --out-dir tls',
          does: 'Writes authority.crt and authority.key there.',
        },
      ],
      command: async () => (await import('../certs-tool/commands/authority.ts')).authorityCommand,
    },
    {
      name: 'tracker-tls',
      summary: "Makes the tracker's HTTPS certificate, signed by an authority of `shoal certs authority`.",
      examples: [
        {
          line: 'shoal certs tracker-tls --name tracker.example.com --authority-dir tls --out-dir tls',
          does: 'Writes tracker.crt and tracker.key.',
        },
      ],
      command: async () => (await import('../certs-tool/commands/tracker-tls.ts')).trackerTlsCommand,
    },
    {
      name: 'unlock-key',
      summary:
        "Makes the key that unseals a tracker's secrets. Without it the tracker's data cannot be opened: keep a copy.",
      examples: [{ line: 'shoal certs unlock-key', does: 'Writes unlock.key.' }],
      command: async () => (await import('../certs-tool/commands/unlock-key.ts')).unlockKeyCommand,
    },
    {
      name: 'inspect',
      summary: 'Explains the certificates in a file (PEM or DER; - is standard input) in plain words.',
      examples: [
        { line: 'shoal certs inspect tracker.crt authority.crt', does: 'Explains two files.' },
        { line: 'shoal certs inspect --json tracker.crt', does: 'Prints the same for scripts.' },
      ],
      command: async () => (await import('../certs-tool/commands/inspect.ts')).inspectCommand,
    },
  ],
}

const COMPLETION: Entry = {
  name: 'completion',
  summary: 'Prints the completion script of a shell: bash, zsh or fish.',
  examples: [
    { line: 'shoal completion bash > /etc/bash_completion.d/shoal', does: 'For every user of bash.' },
    {
      line: 'shoal completion zsh > /usr/local/share/zsh/site-functions/_shoal',
      does: 'For every user of zsh.',
    },
    {
      line: 'shoal completion fish > ~/.config/fish/completions/shoal.fish',
      does: 'For this user of fish.',
    },
  ],
  command: async () => (await import('./completion.ts')).completionCommand(TREE),
}

const VERSION: Entry = {
  name: 'version',
  summary: 'Prints the version.',
  examples: [{ line: 'shoal version', does: 'Prints one line.' }],
  aliases: ['--version'],
  command: async () => (await import('./version.ts')).versionCommand,
}

export const TREE: Entry = {
  name: 'shoal',
  summary: 'Shoal moves container images between the nodes of a cluster.',
  examples: [
    { line: 'shoal up --registries registry.example.com', does: 'Starts all of it on one machine.' },
    {
      line: 'shoal node --tracker-url https://tracker.example.com:7443 --registries registry.example.com',
      does: 'Starts the node of another one.',
    },
  ],
  children: [UP, NODE, TRACKER, ADMIN, CERTS, COMPLETION, VERSION],
}
