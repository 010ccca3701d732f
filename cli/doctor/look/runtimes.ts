import { readdirSync } from 'node:fs'
import { addressText } from '../../../core/network.ts'
import { readIfThere } from '../../../core/read-if-there.ts'
import { type Content, FileTree, isSame } from '../../attach/file-tree.ts'
import { type Attachment, type EditRecord, Journal, type RuntimeName } from '../../attach/journal.ts'
import { type About, isDenied } from '../about.ts'
import type { AttachedRuntime, LiveDocker, RuntimesFacts } from '../judge/runtimes.ts'

/** Daemons, as the kernel calls them. Podman has none. */
const DAEMONS: Record<RuntimeName, string | undefined> = {
  docker: 'dockerd',
  containerd: 'containerd',
  podman: undefined,
  'cri-o': 'crio',
  buildkit: 'buildkitd',
}
/** Clock ticks of proc(5) in a second: the same on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

export async function lookAtRuntimes(about: About): Promise<RuntimesFacts> {
  const { config, root, run, facts } = about
  const tree = new FileTree(root)
  const named = facts.status?.registries.filter(({ state }) => state !== 'not consented') ?? []
  const hosts = [...config.registries, ...named].map(({ host }) => String(host))
  return {
    attached: attachedIn(tree),
    docker: await liveDocker(run),
    proxyUrl: `http://${addressText(config.proxyListen)}`,
    registries: [...new Set(hosts)],
  }
}

function attachedIn(tree: FileTree): AttachedRuntime[] | undefined {
  try {
    const attachments = Object.entries(new Journal(tree).load()) as [RuntimeName, Attachment][]
    const started = attachments.length === 0 ? new Map<string, number>() : daemonsStarted()
    return attachments.map(([name, { phase, since, via, registries, restart, edits }]) => {
      const files = edits.map((edit) => ({ path: edit.path, state: stateOf(tree, edit) }))
      const startedMs = started.get(DAEMONS[name] ?? '')
      return { name, phase, since, via, registries, restart, files, startedMs }
    })
  } catch (error) {
    if (isDenied(error)) return undefined
    throw error
  }
}

function stateOf(tree: FileTree, { path, after }: EditRecord): AttachedRuntime['files'][number]['state'] {
  const now = contentAt(tree, path)
  if (now === undefined) return 'missing'
  return isSame(now, after) ? 'as written' : 'edited'
}

/** Something that `attach` would not touch is not what it wrote. */
function contentAt(tree: FileTree, path: string): Content {
  try {
    return tree.read(path)
  } catch {
    return { text: '' }
  }
}

/** When the oldest process of each name began: those in containers are younger than what runs them. */
function daemonsStarted(): Map<string, number> {
  const bootSeconds = Number(/^btime (\d+)$/m.exec(readIfThere('/proc/stat') ?? '')?.[1])
  const started = new Map<string, number>()
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const stat = readIfThere(`/proc/${pid}/stat`) ?? ''
    const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'))
    const ticks = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19])
    const ms = Math.round((bootSeconds + ticks / TICKS_PER_SECOND) * 1000)
    if (Number.isFinite(ms)) started.set(name, Math.min(ms, started.get(name) ?? ms))
  }
  return started
}

/** Undefined: none runs, or this user may not ask it. */
async function liveDocker(run: About['run']): Promise<LiveDocker | undefined> {
  const text = await run(['docker', 'info', '--format', '{{json .}}'])
  if (text === undefined) return undefined
  try {
    const said = JSON.parse(text) as { HttpsProxy?: string; NoProxy?: string; ServerErrors?: unknown }
    if (said.ServerErrors !== undefined) return undefined
    return { proxy: said.HttpsProxy ?? '', noProxy: said.NoProxy ?? '' }
  } catch {
    return undefined
  }
}
