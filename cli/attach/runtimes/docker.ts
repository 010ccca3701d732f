import { DOCKER_HUB } from '../../../core/repository.ts'
import { AttachFileError, AttachUnsupportedError } from '../errors.ts'
import type { FileTree } from '../file-tree.ts'
import { changeJson, type JsonChange, parseJsonObject, valueAt } from '../json-edit.ts'
import {
  extendedNoProxy,
  hiddenNotes,
  noteFor,
  type Plan,
  type PlannedEdit,
  type Run,
  type RuntimeKind,
  type Settings,
  type TrustFolder,
  trustFoldersIn,
  trustLinks,
} from '../plan.ts'
import { DROP_IN, environmentDropIn, proxyVariable, type UnitFacts, unitFacts } from '../systemd.ts'

const UNIT = 'docker.service'
const CONFIG = '/etc/docker/daemon.json'
const CERTS_DIR = '/etc/docker/certs.d'
/** The first version that reads `proxies` in daemon.json, and has `--validate`. */
const PROXIES_SINCE = 23

export interface DockerFacts {
  version: string | undefined
  isRootless: boolean
  config: { isLink: boolean; text: string; path: string }
  unit: UnitFacts | undefined
  trust: TrustFolder[]
  hostname: string
  /** Undefined while the daemon does not run. */
  running: RunningDocker | undefined
}

interface RunningDocker {
  containers: string[]
  hasLiveRestore: boolean
  swarm: { isMember: boolean; isManager: boolean; node: string; managers: string[] }
}

/** dockerd and the BuildKit in it. It trusts what `certs.d` has, and reads its proxy once, at its start. */
export const docker: RuntimeKind<DockerFacts> = {
  name: 'docker',
  via: 'proxy',
  async gather({ tree, run, hostname }, registries) {
    const unit = unitFacts(tree, UNIT)
    const path = /--config-file[= ]"?([^\s"]+)/.exec(unit?.execStart ?? '')?.[1] ?? CONFIG
    const found = tree.read(path)
    return {
      version: /version (\d[\w.~+-]*)/.exec((await run(['dockerd', '--version'])) ?? '')?.[1],
      isRootless: isRootless(tree, (await run(['docker', 'info', '--format', '{{.SecurityOptions}}'])) ?? ''),
      config: {
        isLink: found !== undefined && 'link' in found,
        text: found !== undefined && 'text' in found ? found.text : '',
        path,
      },
      unit,
      trust: trustFoldersIn(tree, CERTS_DIR, registries),
      hostname,
      running: await runningDocker(run),
    }
  },
  plan: planDocker,
}

/** The system's daemon is not there, and a user's is. */
function isRootless(tree: FileTree, securityOptions: string): boolean {
  if (/\brootless\b/.test(securityOptions)) return true
  if (tree.stat('/run/docker.sock') !== undefined) return false
  return tree.list('/run/user').some((uid) => tree.stat(`/run/user/${uid}/docker.sock`) !== undefined)
}

async function runningDocker(run: Run): Promise<RunningDocker | undefined> {
  const info = await run(['docker', 'info', '--format', '{{json .}}'])
  if (info === undefined) return undefined
  const { LiveRestoreEnabled, Swarm, Name } = JSON.parse(info) as {
    LiveRestoreEnabled?: boolean
    Name?: string
    Swarm?: {
      LocalNodeState?: string
      ControlAvailable?: boolean
      RemoteManagers?: { Addr: string }[] | null
    }
  }
  return {
    containers: ((await run(['docker', 'ps', '--format', '{{.Names}}'])) ?? '')
      .split('\n')
      .filter((name) => name !== ''),
    hasLiveRestore: LiveRestoreEnabled ?? false,
    swarm: {
      isMember: Swarm?.LocalNodeState === 'active',
      isManager: Swarm?.ControlAvailable ?? false,
      node: Name ?? 'NODE',
      managers: (Swarm?.RemoteManagers ?? []).map(({ Addr }) =>
        Addr.replace(/:\d+$/, '').replace(/^\[|\]$/g, ''),
      ),
    },
  }
}

function planDocker(facts: DockerFacts, settings: Settings): Plan {
  refuseUnsupported(facts, settings)
  const config = parseJsonObject(facts.config.path, facts.config.text)
  const before = proxyBefore(facts, config)
  const edits = [
    ...proxyEdits(facts, config, before, settings),
    ...trustLinks(facts.trust, settings.authorityFile),
  ]
  const isChained = before.proxy !== undefined && before.proxy !== settings.proxyUrl
  const upstream = isChained ? { proxy: before.proxy!, noProxy: before.noProxy } : undefined
  const snapshotter = valueAt(config, ['features', 'containerd-snapshotter'])
  const major = majorOf(facts)
  const isContainerdStore = snapshotter === true || (snapshotter === undefined && (major ?? 0) >= 29)
  return {
    found: `Docker ${facts.version ?? '(version unknown)'}, ${isContainerdStore ? "containerd's" : 'classic'} image store`,
    edits,
    notes: [
      ...hiddenNotes(before.noProxy, settings.registries),
      ...(settings.registries.includes(DOCKER_HUB) ? [HUB_NOTE] : []),
      ...restartNotes(facts, settings),
    ],
    restart: restartCommands(facts, settings, edits),
    commands: [],
    offersLiveRestore: wouldStop(facts, settings),
    ...(upstream === undefined ? {} : { upstream }),
    ...(major !== undefined && major >= PROXIES_SINCE && edits.some(({ path }) => path === facts.config.path)
      ? { validate: { argv: ['dockerd', '--validate', '--config-file', '{}'], path: facts.config.path } }
      : {}),
  }
}

const HUB_NOTE =
  'Docker sends no login to a mirror: private images of Docker Hub come from there directly and are not shared.'

function refuseUnsupported({ version, isRootless, config, unit }: DockerFacts, { via }: Settings): void {
  if (isRootless) {
    throw new AttachUnsupportedError(
      'this is rootless Docker, which cannot reach 127.0.0.1 of this machine',
      {
        hint: 'Attach a Docker that runs as a service of the system. Nothing was changed.',
      },
    )
  }
  if (via === 'mirror') {
    throw new AttachUnsupportedError('Docker asks a mirror for Docker Hub only: attach it by proxy', {
      hint: 'Leave --via out. Nothing was changed.',
    })
  }
  if (version === undefined && unit === undefined) {
    throw new AttachUnsupportedError(
      'there is no Docker on this machine: neither dockerd nor docker.service',
      {
        hint: 'Install it, or name another runtime: containerd, podman, cri-o or buildkit.',
      },
    )
  }
  if (config.isLink) {
    throw new AttachFileError(`${config.path} is a link`, {
      hint: 'Shoal follows no links. Change the file that it leads to by hand. Nothing was changed.',
    })
  }
  const flag = /--(https?-proxy|no-proxy|registry-mirror)\b/.exec(unit?.execStart ?? '')?.[0]
  if (flag !== undefined) {
    throw new AttachFileError(`docker.service starts dockerd with ${flag}, which no file can change`, {
      hint: 'Take the flag out of ExecStart and put its value into daemon.json. Nothing was changed.',
    })
  }
}

/** The proxy of today. daemon.json wins over the environment, each value by itself. */
function proxyBefore({ unit }: DockerFacts, config: object): { proxy: string | undefined; noProxy: string } {
  const text = (key: string) => {
    const value = valueAt(config, ['proxies', key])
    return typeof value === 'string' && value !== '' ? value : undefined
  }
  const variable = (name: string) => unit && proxyVariable(unit, name)
  return {
    proxy: text('https-proxy') ?? variable('HTTPS_PROXY'),
    noProxy: text('no-proxy') ?? variable('NO_PROXY') ?? '',
  }
}

function proxyEdits(
  facts: DockerFacts,
  config: object,
  before: ReturnType<typeof proxyBefore>,
  settings: Settings,
): PlannedEdit[] {
  const { unit, running, hostname } = facts
  const more = [hostname, ...(running?.swarm.managers ?? [])]
  const noProxy = extendedNoProxy(before.noProxy, { ...settings, more })
  const isInFile = valueAt(config, ['proxies', 'https-proxy']) !== undefined
  if (!isInFile && unit === undefined && (majorOf(facts) ?? 0) < PROXIES_SINCE) {
    throw new AttachUnsupportedError(
      `Docker ${facts.version} takes its proxy from systemd only, and there is no ${UNIT}`,
      {
        hint: `Start dockerd with HTTPS_PROXY=${settings.proxyUrl}, or upgrade to Docker 23. Nothing was changed.`,
      },
    )
  }
  const byDropIn = !isInFile && unit !== undefined
  const isNoProxyInFile = valueAt(config, ['proxies', 'no-proxy']) !== undefined
  const changes = [
    ...(byDropIn ? [] : [valueChange(config, ['proxies', 'https-proxy'], settings.proxyUrl)]),
    ...(byDropIn && !isNoProxyInFile ? [] : [valueChange(config, ['proxies', 'no-proxy'], noProxy)]),
    ...(settings.registries.includes(DOCKER_HUB) ? mirrorChange(config, settings.mirrorUrl) : []),
    ...(settings.liveRestore ? [valueChange(config, ['live-restore'], true)] : []),
  ].filter((change) => 'item' in change || change.before !== change.after)
  const own = byDropIn
    ? dropInEdits(facts, {
        HTTPS_PROXY: settings.proxyUrl,
        ...(isNoProxyInFile ? {} : { NO_PROXY: noProxy }),
      })
    : []
  if (changes.length === 0) return own
  return [
    ...own,
    { path: facts.config.path, after: { text: changeJson(facts.config.text, changes) }, changes },
  ]
}

function valueChange(
  config: object,
  path: string[],
  after: unknown,
): Extract<JsonChange, { after: unknown }> {
  const before = valueAt(config, path)
  const isParentNew = path.length > 1 && valueAt(config, path.slice(0, -1)) === undefined
  return { path, after, ...(before === undefined ? {} : { before }), ...(isParentNew ? { isParentNew } : {}) }
}

function mirrorChange(config: object, mirrorUrl: string): JsonChange[] {
  const list = valueAt(config, ['registry-mirrors'])
  if (Array.isArray(list) && list.includes(mirrorUrl)) return []
  const isListNew = !Array.isArray(list) || list.length === 0
  return [{ path: ['registry-mirrors'], item: mirrorUrl, ...(isListNew ? { isListNew } : {}) }]
}

function dropInEdits({ unit }: DockerFacts, variables: Record<string, string>): PlannedEdit[] {
  const later = unit!.dropIns.find((name) => name > DROP_IN)
  if (later !== undefined && [...unit!.environment.keys()].some((name) => name in variables)) {
    throw new AttachFileError(
      `the drop-in ${later} of ${UNIT} comes after Shoal's, and may set its own proxy`,
      {
        hint: `Rename it so that it sorts before ${DROP_IN}. Nothing was changed.`,
      },
    )
  }
  return environmentDropIn(UNIT, unit!, variables, noteFor('docker')).map(({ path, text }) => ({
    path,
    after: { text },
  }))
}

function majorOf({ version }: DockerFacts): number | undefined {
  return version === undefined ? undefined : Number.parseInt(version, 10)
}

function wouldStop({ running }: DockerFacts, { liveRestore }: Settings): boolean {
  if (running === undefined || running.swarm.isMember || running.hasLiveRestore) return false
  return !liveRestore && running.containers.length > 0
}

/** What a restart of the daemon costs. */
function restartNotes({ running }: DockerFacts, { liveRestore }: Settings): string[] {
  if (running === undefined) return []
  const { containers, hasLiveRestore, swarm } = running
  if (swarm.isMember)
    return [
      'This node is a member of a Swarm: a restart of Docker moves its tasks to other nodes. Drain it first, as below.',
    ]
  if (containers.length === 0) return []
  const names = `${containers.slice(0, 10).join(', ')}${containers.length > 10 ? ', …' : ''}`
  if (hasLiveRestore || liveRestore)
    return [`${containers.length} containers keep running while Docker restarts (live-restore): ${names}.`]
  return [
    `A restart of Docker stops ${containers.length} running ${containers.length === 1 ? 'container' : 'containers'}: ${names}. With --live-restore they keep running.`,
  ]
}

function restartCommands(
  { running, unit }: DockerFacts,
  { liveRestore }: Settings,
  edits: PlannedEdit[],
): string[] {
  const reload = edits.some(({ path }) => path.endsWith('.conf')) ? ['systemctl daemon-reload'] : []
  const restart = unit === undefined ? ['restart dockerd'] : ['systemctl restart docker']
  const { isMember = false, isManager = false, node = '' } = running?.swarm ?? {}
  if (isMember) {
    const where = isManager ? '' : '   (on a manager)'
    const update = (to: string) => `docker node update --availability ${to} ${node}${where}`
    return [...reload, update('drain'), ...restart, update('active')]
  }
  const isKept = liveRestore && running?.hasLiveRestore === false
  return [
    ...reload,
    ...(isKept ? ['systemctl reload docker   (live-restore, before the restart)'] : []),
    ...restart,
  ]
}
