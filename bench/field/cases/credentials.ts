import type { OddRegistry } from '../../../lab/field/manners.ts'
import { ACCOUNT, type FieldCase, type FieldVariant, variant, WITH_TOKENS } from '../field-case.ts'

/** Registries whose tokens, users or repositories are unusual, or that are called by several names. */

const ROBOT = { user: 'robot$team+ci', password: 'p@s:s$w%rd"ü' }
const LONG_NAME = `a/b/c__d/e-f.g/${'h'.repeat(100)}`
const HARBOR: OddRegistry = { name: 'robot.field.test', authentication: { kind: 'jwt', account: ROBOT } }
const PUBLIC: OddRegistry = { name: 'public.field.test', authentication: { kind: 'jwt', forged: 'welcome' } }
const EMPTY: OddRegistry = {
  name: 'empty-access.field.test',
  authentication: { kind: 'jwt', hasEmptyAccess: true },
}
const PASSWORDS: OddRegistry = {
  name: 'passwords.field.test',
  authentication: { kind: 'basic', account: ROBOT },
}

const harborNames: FieldCase = {
  name: 'harbor-names',
  about:
    'Robot users with signs of all kinds, long repository names, public projects, tokens without rights.',
  source: 'goharbor/harbor#13116, #15757, docker/login-action#893',
  registries: [HARBOR, PUBLIC, EMPTY, PASSWORDS],
  variants: [
    variant('robot', HARBOR, { repository: `${LONG_NAME}/robot` }),
    variant('robot-docker', HARBOR, { repository: `${LONG_NAME}/docker`, client: 'docker' }),
    variant('public', PUBLIC),
    variant('empty-access', EMPTY),
    variant('passwords', PASSWORDS),
  ],
}

const KIBIBYTE = 1024
const LONG = [10, 24, 40].map(
  (kibibytes): OddRegistry => ({
    name: `token-${kibibytes}.field.test`,
    authentication: { kind: 'jwt', tokenBytes: kibibytes * KIBIBYTE },
  }),
)
const MANY_RIGHTS: OddRegistry = {
  name: 'many-rights.field.test',
  authentication: { kind: 'jwt', otherRights: 300 },
}
const OPAQUE: OddRegistry = {
  name: 'opaque.field.test',
  authentication: { kind: 'opaque', tokenBytes: 12 * KIBIBYTE },
}

const longTokens: FieldCase = {
  name: 'long-tokens',
  about: 'Tokens of 10 to 40 KiB, with rights in 300 repositories, and opaque ones of 12 KiB.',
  source: 'goharbor/harbor, Azure/acr, docker/for-win#431',
  registries: [...LONG, MANY_RIGHTS, OPAQUE],
  variants: [
    variant('10-kib', LONG[0]!),
    variant('24-kib', LONG[1]!),
    // Above the bound of what a tracker reads.
    variant('40-kib', LONG[2]!, { canShare: false }),
    variant('300-rights', MANY_RIGHTS),
    variant('opaque', OPAQUE),
  ],
}

const GITLAB = {
  kind: 'jwt' as const,
  account: ACCOUNT,
  keyHeader: 'kid' as const,
  isGitlab: true,
}
const BY_KID: OddRegistry = { name: 'by-kid.field.test', authentication: GITLAB }
const ASKED: OddRegistry = { name: 'asked.field.test', authentication: GITLAB, kind: 'introspect' }
const FORBIDS: OddRegistry = {
  name: 'forbids.field.test',
  authentication: { kind: 'jwt', account: ACCOUNT, forged: 'forbidden' },
}
const CHALLENGES: OddRegistry = {
  name: 'challenges.field.test',
  authentication: { kind: 'jwt', account: ACCOUNT, otherChallenges: ['Basic realm="x, y"', 'Negotiate'] },
}

const tokenKinds: FieldCase = {
  name: 'token-kinds',
  about: 'A token that names its key by `kid` only, 403 for a forged one, and several challenges.',
  source: 'GitLab and Azure registries; Google answers 403',
  registries: [BY_KID, ASKED, FORBIDS, CHALLENGES],
  variants: [
    variant('kid-as-token', BY_KID),
    variant('kid-introspected', ASKED),
    variant('forged-403', FORBIDS),
    variant('challenges', CHALLENGES),
  ],
}

const SHORT: OddRegistry = {
  name: 'short-token.field.test',
  authentication: { kind: 'jwt', account: ACCOUNT, tokenSeconds: 15 },
  manners: [{ on: { method: 'GET', of: 'layers' }, pace: { bytes: 20_000, pauseMs: 100 } }],
}

const tokenEndsFirst: FieldCase = {
  name: 'token-ends-first',
  about: 'A token of 15 s and a blob that takes 30 s; the registry checks the token when a request begins.',
  source: 'bottlerocket-os/bottlerocket#4564',
  registries: [SHORT],
  variants: [variant('docker', SHORT, { client: 'docker', layers: [6_000_000] })],
  isLong: true,
}

const HUB: OddRegistry = { name: 'registry-1.docker.io', imageHost: 'docker.io' }
const HUB_INDEX: OddRegistry = { name: 'index.docker.io', kind: 'unlisted' }

const dockerHub: FieldCase = {
  name: 'docker-hub',
  about:
    'Images of docker.io are asked for at registry-1.docker.io, for which Docker reads no folder of trust.',
  source: 'moby/moby#36882, #15227, #28992, docker-archive/docker-registry#1039',
  registries: [HUB, HUB_INDEX],
  variants: [
    variant('skopeo', HUB, { repository: 'field/skopeo' }),
    variant('docker', HUB, { repository: 'field/docker', client: 'docker' }),
    variant('docker-again', HUB, { repository: 'field/again', client: 'docker' }),
  ],
}

const MIRROR: OddRegistry = { name: 'mirror.field.test' }
const PREFIXED: OddRegistry = { name: 'prefixed.field.test', prefix: '/artifactory/api/docker/hub-remote' }

const mirrorRequests: FieldCase = {
  name: 'mirror-requests',
  about: "Requests as containerd's mirrors get them: ?ns=docker.io, and an API below a prefix.",
  source: 'dragonflyoss/client#1792, git-pkgs/proxy#303, k3s-io/k3s#8026',
  registries: [MIRROR, PREFIXED],
  variants: [
    variant('ns', MIRROR, { client: { kind: 'curl', query: 'ns=docker.io' }, layers: [2_000_000] }),
    variant('prefix', PREFIXED, { client: 'curl', layers: [2_000_000] }),
  ],
}

const COMMANDS: OddRegistry = { name: 'commands.field.test', ...WITH_TOKENS }
const HUB_MIRROR: OddRegistry = { name: 'hub-mirror.field.test' }
const login = (input: string) => () => ({
  argv: ['login', COMMANDS.name, '--username', ACCOUNT.user, '--password-stdin'],
  input,
})
const command = (name: string, run: NonNullable<FieldVariant['command']>, fails = false) =>
  variant(name, COMMANDS, { client: 'docker', command: run, fails })

const dockerCommands: FieldCase = {
  name: 'docker-commands',
  about:
    'What else Docker does: log in, search, inspect, pull by digest, all tags, through a mirror of the Hub.',
  source: 'dragonflyoss/dragonfly-archived#289, docker/for-linux#1031, ciiiii/cloudflare-docker-proxy#11',
  registries: [COMMANDS, HUB_MIRROR],
  variants: [
    command('login', login(ACCOUNT.password)),
    command('login-refused', login('wrong'), true),
    command('manifest-inspect', (image) => ({ argv: ['manifest', 'inspect', image] })),
    command('search', () => ({ argv: ['search', `${COMMANDS.name}/app`] })),
    command('all-tags', (image) => ({
      argv: ['pull', '--quiet', '-a', image.slice(0, image.lastIndexOf(':'))],
    })),
    command('missing-tag', (image) => ({ argv: ['pull', '--quiet', `${image}-not-there`] }), true),
    command('logout', () => ({ argv: ['logout', COMMANDS.name] })),
    command('pull-logged-out', (image) => ({ argv: ['pull', '--quiet', image] }), true),
    variant(
      'mirror',
      { ...HUB_MIRROR, imageHost: 'docker.io' },
      {
        repository: 'library/field-hello',
        client: { kind: 'docker', mirror: HUB_MIRROR.name },
      },
    ),
  ],
}

export const CREDENTIALS: FieldCase[] = [
  harborNames,
  longTokens,
  tokenKinds,
  tokenEndsFirst,
  dockerHub,
  mirrorRequests,
  dockerCommands,
]
