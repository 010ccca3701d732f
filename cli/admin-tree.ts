import {
  ADMIN_AUDIT,
  ADMIN_BLOCK,
  ADMIN_IMAGE,
  ADMIN_NODE,
  ADMIN_PAUSE,
  ADMIN_PULL,
  ADMIN_REGISTRY,
  ADMIN_SETTINGS,
  CLUSTER_LS,
  KEY_LS,
  WHOAMI,
} from './admin-fleet-tree.ts'
import type { Entry } from './command-tree.ts'

/** `shoal admin …`: what is asked of a running tracker. Part of cli/tree.ts. */

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
    CLUSTER_LS,
  ],
}

const ADMIN_TOKEN: Entry = {
  name: 'token',
  summary: 'Tokens: join strings for machines that become nodes, and tokens with a name for administrators.',
  examples: [
    { line: 'shoal admin token create', does: 'Prints a line that makes a machine a node.' },
    { line: 'shoal admin token create dashboard --role reader', does: 'Prints a token for the admin API.' },
  ],
  children: [
    {
      name: 'create',
      summary:
        'Makes a join string: one line that makes machines nodes with `shoal join`. It ends after an hour, and is printed once. With a name: a token for the admin API.',
      examples: [
        { line: 'shoal admin token create', does: 'For any number of machines, within the next hour.' },
        {
          line: 'shoal admin token create --uses 1 --expires 30m',
          does: 'For one machine, within half an hour.',
        },
        {
          line: 'shoal admin token create --quiet | ssh node1 shoal join -',
          does: 'Neither machine has it in a process list or a history.',
        },
        {
          line: 'shoal admin token create dashboard --role reader --ends 30d',
          does: 'For a program that reads the admin API for 30 days.',
        },
      ],
      command: async () => (await import('../certs-tool/commands/tokens.ts')).tokenCreateCommand,
    },
    {
      name: 'ls',
      summary: 'Lists the join tokens of a cluster: how many nodes joined with each, and when it ends.',
      examples: [
        { line: 'shoal admin token ls', does: 'Also shows tokens that ended within a week.' },
        {
          line: 'shoal admin token ls --admins',
          does: 'Lists the tokens of administrators with their roles.',
        },
      ],
      command: async () => (await import('../certs-tool/commands/tokens.ts')).tokenListCommand,
    },
    {
      name: 'withdraw',
      summary:
        'Ends one token at once: a join token by its id, or an administrator’s by its name. Nodes that joined stay.',
      examples: [
        { line: 'shoal admin token withdraw dashboard', does: 'Its next call to the admin API is refused.' },
        { line: 'shoal admin token withdraw 0123456789abcdef', does: 'The id is in `shoal admin token ls`.' },
      ],
      command: async () => (await import('../certs-tool/commands/tokens.ts')).tokenWithdrawCommand,
    },
    {
      name: 'rotate',
      summary:
        'Ends all join tokens and join strings of a cluster, and prints a new join token, once. Nodes that joined stay.',
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
    KEY_LS,
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

export const ADMIN: Entry = {
  name: 'admin',
  summary:
    'Administers a running tracker: through the socket in its data folder, or over TLS with --profile, --admin-token-file or --admin-pem.',
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
    ADMIN_NODE,
    ADMIN_IMAGE,
    ADMIN_PULL,
    ADMIN_REGISTRY,
    ADMIN_PAUSE,
    ADMIN_BLOCK,
    ADMIN_AUDIT,
    ADMIN_SETTINGS,
    ADMIN_TOKEN,
    WHOAMI,
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
          does: 'Changes both keys; `shoal certs unlock-key --out next.key` makes next.key.',
        },
      ],
      oldNames: ['certs reseal'],
      command: async () => (await import('../certs-tool/commands/reseal.ts')).resealCommand,
    },
  ],
}
