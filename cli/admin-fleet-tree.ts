import type { Entry } from './command-tree.ts'

/** `shoal admin node|registry|image|pull|audit|settings|pause|block`: made from the table of calls. Part of cli/tree.ts. */

type Example = Entry['examples'][number]

function entry(
  name: string,
  summary: string,
  command: NonNullable<Entry['command']>,
  ...examples: [Example, ...Example[]]
): Entry {
  return { name, summary, command, examples }
}

const views = () => import('./admin/views.ts')
const imageViews = () => import('./admin/image-views.ts')
const actions = () => import('./admin/actions.ts')
const blocks = () => import('./admin/blocks.ts')
const example = (line: string, does: string): Example => ({ line: `shoal admin ${line}`, does })

export const CLUSTER_LS = entry(
  'ls',
  'Lists the clusters.',
  async () => (await views()).clusterLsCommand,
  example('cluster ls', 'With what is changing in each.'),
)

export const KEY_LS = entry(
  'ls',
  'Lists the authorities and signing keys of all clusters.',
  async () => (await views()).keyLsCommand,
  example('key ls', 'Says which issue and sign, and until when others count.'),
)

export const WHOAMI = entry(
  'whoami',
  'Says who you are to the tracker, and with which role.',
  async () => (await views()).whoamiCommand,
  example('whoami --profile site', 'Checks a profile.'),
)

export const ADMIN_NODE: Entry = {
  name: 'node',
  summary: 'Nodes: lists and inspects them, labels and drains them, keeps them out or forgets them.',
  examples: [example('node ls --state silent', 'Lists the nodes that the tracker does not hear of.')],
  children: [
    entry(
      'ls',
      'Lists the nodes on record. Commands take the beginning of an id.',
      async () => (await views()).nodeLsCommand,
      example('node ls', 'Lists all, at most 100 at a time.'),
      example('node ls --label zone=a --watch', 'Shows those with a label, again every second.'),
    ),
    entry(
      'inspect',
      'Says what is known of a node.',
      async () => (await views()).nodeInspectCommand,
      example('node inspect 0123456789ab', 'The beginning of the id is enough.'),
    ),
    entry(
      'label',
      'Replaces the labels of a node; `none` removes them.',
      async () => (await actions()).nodeLabelCommand,
      example('node label 0123456789ab zone=a rack=r12', 'Gives it two labels.'),
    ),
    entry(
      'drain',
      'Names a node to nobody as a peer. It still pulls, and whoever is connected to it stays so.',
      async () => (await actions()).nodeDrainCommand,
      example('node drain 0123456789ab', 'Before the machine goes.'),
    ),
    entry(
      'undrain',
      'Names a node as a peer again.',
      async () => (await actions()).nodeUndrainCommand,
      example('node undrain 0123456789ab', 'Others are sent to it from now on.'),
    ),
    entry(
      'pause',
      'Lets a node stand aside: its machine pulls from registries.',
      async () => (await actions()).nodePauseCommand,
      example('node pause 0123456789ab', 'It obeys with its next heartbeat.'),
    ),
    entry(
      'resume',
      'Ends the pause of a node.',
      async () => (await actions()).nodeResumeCommand,
      example('node resume 0123456789ab', 'A pause of its cluster stays.'),
    ),
    entry(
      'revoke',
      'Keeps a node out: others cut its connections with their next heartbeat.',
      async () => (await actions()).nodeRevokeCommand,
      example('node revoke 0123456789ab', 'It also cannot join again, until it is reinstated.'),
    ),
    entry(
      'revocations',
      'Lists what is revoked: nodes and pulls.',
      async () => (await views()).revocationLsCommand,
      example('node revocations', 'With the numbers that reinstate takes.'),
    ),
    entry(
      'reinstate',
      'Clears a revocation, of a node or a pull.',
      async () => (await actions()).reinstateCommand,
      example('node reinstate 7', 'The number is in `shoal admin node revocations`.'),
    ),
    entry(
      'forget',
      'Forgets a node that is gone. If it is not, it must join again.',
      async () => (await actions()).nodeForgetCommand,
      example('node forget 0123456789ab', 'Its labels are forgotten too.'),
    ),
  ],
}

export const ADMIN_REGISTRY: Entry = {
  name: 'registry',
  summary: 'Registries that the tracker grants pulls for.',
  examples: [example('registry ls', 'Lists them, with how callers turned out to authenticate.')],
  children: [
    entry(
      'ls',
      'Lists the registries, and how their callers turned out to authenticate.',
      async () => (await views()).registryLsCommand,
      example('registry ls', 'One line for each.'),
    ),
  ],
}

export const ADMIN_IMAGE: Entry = {
  name: 'image',
  summary: 'What nodes share: the repositories that were pulled from, and their blobs.',
  examples: [example('image ls', 'Lists the repositories that nodes pulled from lately.')],
  children: [
    entry(
      'ls',
      'Lists the repositories that nodes pulled from lately. The tracker never hears of tags.',
      async () => (await imageViews()).imageLsCommand,
      example('image ls --registry registry.example.com', 'Those of one registry.'),
    ),
    entry(
      'inspect',
      'Lists the blobs of a repository, with how many nodes have each.',
      async () => (await imageViews()).imageInspectCommand,
      example('image inspect registry.example.com/team/app', 'A tag is passed over.'),
    ),
    entry(
      'blobs',
      'Lists the blobs that the tracker knows.',
      async () => (await imageViews()).blobLsCommand,
      example('image blobs --limit 1000', 'In order of their swarms.'),
    ),
    entry(
      'blob',
      'Says who holds a blob, and who fetches which part of it from the registry.',
      async () => (await imageViews()).blobInspectCommand,
      example('image blob fedcba9876543210fedcba9876543210fedcba98 --watch', 'Watches a cold blob spread.'),
    ),
  ],
}

export const ADMIN_PULL: Entry = {
  name: 'pull',
  summary: 'Pulls that the tracker certified.',
  examples: [example('pull ls', 'Lists them, newest first.')],
  children: [
    entry(
      'ls',
      'Lists the pulls, newest first.',
      async () => (await imageViews()).pullLsCommand,
      example('pull ls --repository team/app --watch', 'Watches a release roll out.'),
    ),
    entry(
      'inspect',
      'Says what a pull was certified for.',
      async () => (await imageViews()).pullInspectCommand,
      example('pull inspect 0123456789abcdef0123456789abcdef', 'With its blobs.'),
    ),
    entry(
      'revoke',
      'Ends a pull, and bars the subject of its token.',
      async () => (await actions()).pullRevokeCommand,
      example('pull revoke 0123456789abcdef0123456789abcdef', 'Until it is reinstated.'),
    ),
  ],
}

export const ADMIN_AUDIT = entry(
  'audit',
  'Lists who did what, newest first.',
  async () => (await views()).auditCommand,
  example('audit --limit 20', 'The last 20 entries.'),
  example('audit --actor "token dashboard" --json', 'What one token did, for scripts.'),
)

export const ADMIN_SETTINGS = entry(
  'settings',
  "Lists the tracker's settings as they count. Secrets are not among them.",
  async () => (await views()).settingsCommand,
  example('settings', 'Says which are defaults.'),
)

export const ADMIN_PAUSE: Entry = {
  name: 'pause',
  summary: 'Lets a whole cluster stand aside: its nodes pull from registries until it is undone.',
  examples: [example('pause on', 'All nodes obey with their next heartbeat.')],
  children: [
    entry(
      'on',
      'Pauses a cluster, also for nodes that join later.',
      async () => (await actions()).pauseOnCommand,
      example('pause on --cluster main', 'Where the tracker has several.'),
    ),
    entry(
      'off',
      'Ends the pause of a cluster.',
      async () => (await actions()).pauseOffCommand,
      example('pause off', 'Nodes that are paused one by one stay so.'),
    ),
    entry(
      'ls',
      'Lists what is paused.',
      async () => (await views()).pauseLsCommand,
      example('pause ls', 'Clusters and single nodes.'),
    ),
  ],
}

export const ADMIN_BLOCK: Entry = {
  name: 'block',
  summary: 'Stops what leaked in the whole cluster: a repository, a blob or a node.',
  examples: [
    example('block add --repository registry.example.com/team/app', 'Nodes obey with their next heartbeat.'),
  ],
  children: [
    entry(
      'add',
      'Blocks a repository, a blob or a node: nodes cut its transfers and drop their copies.',
      async () => (await blocks()).blockAddCommand,
      example(
        'block add --repository registry.example.com/team/app',
        'All that is granted through it; the same blob in another repository is still shared.',
      ),
      example('block add --digest "$DIGEST"', 'One layer, `sha256:…`, in any repository.'),
      example('block add --node 0123456789ab', 'As `shoal admin node revoke`.'),
    ),
    entry(
      'ls',
      'Lists what is blocked, also nodes that were revoked.',
      async () => (await blocks()).blockLsCommand,
      example('block ls', 'With the ids that remove takes.'),
    ),
    entry(
      'remove',
      'Removes a block: what it was of is shared again once somebody pulls it.',
      async () => (await blocks()).blockRemoveCommand,
      example('block remove 0123456789abcdef', 'The id is in `shoal admin block ls`.'),
    ),
  ],
}
