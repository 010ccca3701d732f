import { ADMIN } from './admin-tree.ts'
import { ATTACH, DETACH } from './attach-tree.ts'
import { CACHE, RELOAD } from './cache-tree.ts'
import { type Entry, PROGRAM_EXITS, program } from './command-tree.ts'
import { DOCTOR } from './doctor-tree.ts'
import {
  JOIN,
  LEAVE,
  TRACKER_BACKUP,
  TRACKER_CONFIRM_RESTORE,
  TRACKER_EXPORT,
  TRACKER_IMPORT,
  TRACKER_INIT,
  TRACKER_MIGRATE,
  TRACKER_RENEW,
  TRACKER_RESTORE,
} from './membership-tree.ts'
import { PAUSE, RESUME } from './pause-tree.ts'
import { BUGREPORT, EXPLAIN, STATUS, WAIT } from './status-tree.ts'

/**
 * Every command of `shoal`. A node must not pay for what only a tracker or a tool needs: nothing is imported here but when
 * an entry is run or explained.
 */

const NODE: Entry = {
  name: 'node',
  summary: 'Runs on every node: the proxy that Docker pulls through, and the transfers between nodes.',
  examples: [
    {
      line: 'shoal node --registries registry.example.com',
      does: 'Serves Docker on 127.0.0.1:7070, in the cluster that `shoal join` found.',
    },
    {
      line: 'shoal node --tracker-url https://tracker.example.com:7443 --join-token-file join-token',
      does: 'Joins by itself, for machines that are set up from files.',
    },
    { line: 'shoal node --config-file /etc/shoal/node.json', does: 'Takes all settings from a file.' },
  ],
  exits: PROGRAM_EXITS,
  program: async () => {
    const { nodeConfig } = await import('../node/config.ts')
    return program({
      schema: nodeConfig,
      canReload: true,
      start: async (config, log, started) =>
        (await import('../node/main.ts')).startNode(config, log, undefined, { program: 'node', ...started }),
    })
  },
}

const TRACKER: Entry = {
  name: 'tracker',
  summary: 'Runs once per site: clusters, pull certificates, piece hashes, who has what.',
  examples: [
    {
      line: 'shoal tracker --tls-cert-file tracker.crt --tls-key-file tracker.key --unlock-key-file unlock.key',
      does: 'Starts a tracker with the files of `shoal certs`, where `shoal tracker init` does not fit.',
    },
    {
      line: 'shoal tracker --config-file /etc/shoal/tracker.json',
      does: 'Takes all settings from a file; without unlockKeyFile it waits for `shoal tracker unlock`.',
    },
  ],
  exits: PROGRAM_EXITS,
  program: async () => {
    const { trackerConfig } = await import('../tracker/config.ts')
    return program({
      schema: trackerConfig,
      start: async (config, log) => (await import('../tracker/main.ts')).runTracker(config, log),
    })
  },
  children: [
    TRACKER_INIT,
    TRACKER_RENEW,
    TRACKER_MIGRATE,
    TRACKER_EXPORT,
    TRACKER_IMPORT,
    TRACKER_BACKUP,
    TRACKER_RESTORE,
    TRACKER_CONFIRM_RESTORE,
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

const GUARD: Entry = {
  name: 'guard',
  summary:
    "Owns the proxy's socket, so that runtimes always get an answer: from the node, or directly while it is down.",
  examples: [
    {
      line: 'shoal guard run -- --config-file /etc/shoal/node.json',
      does: 'Runs a node with these settings behind the guard.',
    },
    { line: 'shoal guard stop', does: 'Stops the node; meanwhile runtimes pull directly.' },
  ],
  children: [
    {
      name: 'run',
      summary: 'Takes the sockets (from the service manager if it passes them) and runs the node.',
      examples: [
        {
          line: 'shoal guard run --rules-file /etc/shoal/relay.json -- --config-file /etc/shoal/node.json',
          does: 'The relay applies the rules in that file.',
        },
      ],
      command: async () => (await import('../guard/main.ts')).guardRunCommand,
    },
    {
      name: 'start',
      summary: 'Starts the node behind a running guard.',
      examples: [{ line: 'shoal guard start', does: 'Returns at once.' }],
      command: async () => (await import('../guard/main.ts')).guardStartCommand,
    },
    {
      name: 'stop',
      summary: 'Stops the node once it has finished what it serves; then the relay answers.',
      examples: [{ line: 'shoal guard stop', does: 'Returns once the node has ended.' }],
      command: async () => (await import('../guard/main.ts')).guardStopCommand,
    },
    {
      name: 'status',
      summary: 'Says who answers: the node or the relay.',
      examples: [{ line: 'shoal guard status', does: 'Prints one line of JSON.' }],
      command: async () => (await import('../guard/main.ts')).guardStatusCommand,
    },
  ],
}

const RELAY: Entry = {
  name: 'relay',
  summary: "Tunnels the runtimes' connections while the node is down. The guard starts it.",
  examples: [{ line: 'shoal relay --rules-file /etc/shoal/relay.json', does: 'As the guard starts it.' }],
  command: async () => (await import('../relay/main.ts')).relayCommand,
}

const OWNERS: Entry = {
  name: 'owners',
  summary:
    "Tells the node of a package which programs connect to its proxy, which the node's own user cannot see. The service manager starts it.",
  examples: [
    { line: 'shoal owners --proxy-listen 127.0.0.1:7070', does: 'As shoal-owners.service starts it.' },
  ],
  command: async () => (await import('../owners/main.ts')).ownersCommand,
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
  exits: PROGRAM_EXITS,
  program: async () => {
    const { startUp, upConfig } = await import('./up.ts')
    return program({ schema: upConfig, start: (config, log, started) => startUp(config, log, started) })
  },
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
    { line: 'shoal up --registries registry.example.com', does: 'Tries Shoal on one machine.' },
    {
      line: 'shoal tracker init --name tracker.example.com --registries registry.example.com',
      does: 'Begins a cluster, and prints the line with which machines join.',
    },
    { line: 'shoal join -', does: 'Makes this machine a node of the cluster.' },
    {
      line: 'shoal attach docker --registry registry.example.com',
      does: 'Lets Docker on this machine pull through the node.',
    },
  ],
  children: [
    UP,
    JOIN,
    LEAVE,
    STATUS,
    EXPLAIN,
    WAIT,
    BUGREPORT,
    NODE,
    GUARD,
    RELAY,
    OWNERS,
    PAUSE,
    RESUME,
    RELOAD,
    CACHE,
    ATTACH,
    DETACH,
    DOCTOR,
    TRACKER,
    ADMIN,
    CERTS,
    COMPLETION,
    VERSION,
  ],
}
