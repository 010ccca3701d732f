import { NoProxy } from '../../../core/no-proxy.ts'
import { parseRegistryHost, registryAddress } from '../../../core/repository.ts'
import { utcText } from '../../../core/time-text.ts'
import { type Finding, found, ok, unknown } from '../finding.ts'

export interface AttachedRuntime {
  name: string
  phase: 'writing' | 'attached' | 'restoring'
  /** ISO 8601. */
  since: string
  via: 'proxy' | 'mirror'
  registries: string[]
  /** What makes the runtime take notice, as commands. */
  restart: string[]
  files: { path: string; state: 'as written' | 'missing' | 'edited' }[]
  /** When its daemon started; undefined: it does not run, or has none. */
  startedMs?: number | undefined
}

/** Docker, as the running daemon says it is. */
export interface LiveDocker {
  proxy: string
  noProxy: string
}

export interface RuntimesFacts {
  /** Undefined: only root may know. */
  attached: AttachedRuntime[] | undefined
  docker?: LiveDocker | undefined
  /** Of the node. */
  proxyUrl: string
  registries: string[]
}

export function judgeRuntimes(facts: RuntimesFacts): Finding[] {
  const { attached, docker } = facts
  if (attached === undefined)
    return [unknown('what is attached', 'only root may see it'), ...judgeLive(facts)]
  const all = attached.flatMap((one) => judgeAttached(one, facts))
  const isDockerAttached = attached.some(({ name }) => name === 'docker')
  if (!isDockerAttached) all.push(...judgeLive(facts))
  if (attached.length === 0 && docker === undefined)
    all.push(ok('nothing is attached, and no Docker runs here'))
  return all
}

/** A Docker that was pointed at the node by hand, or not at all. */
function judgeLive({ docker, proxyUrl, registries }: RuntimesFacts): Finding[] {
  if (docker === undefined) return []
  if (isSameUrl(docker.proxy, proxyUrl))
    return [ok('docker pulls through the node'), ...hidden('docker', docker.noProxy, registries)]
  const named = registries.length === 0 ? '' : ` --registry ${registries[0]}`
  return [
    found('RUNTIME_UNATTACHED', {
      detail: docker.proxy === '' ? 'it has no proxy' : `its proxy is ${docker.proxy}`,
      remedy: `Run \`shoal attach docker${named}\`.`,
    }),
  ]
}

function judgeAttached(runtime: AttachedRuntime, { docker, proxyUrl }: RuntimesFacts): Finding[] {
  const { name, phase, files, via, registries, restart } = runtime
  const subject = name
  if (phase !== 'attached') {
    const remedy = `Run \`shoal attach ${name}\` again, or \`shoal detach ${name}\` to take everything back.`
    return [found('ATTACH_INTERRUPTED', { subject, remedy })]
  }
  const again = `Run \`shoal attach ${name}\` again.`
  const changed = files
    .filter(({ state }) => state !== 'as written')
    .map(({ path, state }) =>
      found('ATTACHED_FILE_CHANGED', {
        subject,
        detail: `${path} ${state === 'missing' ? 'is missing' : 'was edited'}`,
        remedy: again,
      }),
    )
  const live = name === 'docker' && via === 'proxy' ? docker : undefined
  const isStale = runtime.startedMs !== undefined && runtime.startedMs < Date.parse(runtime.since)
  const isElsewhere = live !== undefined && !isSameUrl(live.proxy, proxyUrl)
  const past = live === undefined || isElsewhere ? [] : hidden(name, live.noProxy, registries)
  if (restart.length > 0 && isStale && (live === undefined || isElsewhere)) {
    const remedy = `Run: ${restart.join('; ')}`
    return [...changed, found('RUNTIME_NOT_RESTARTED', { subject, detail: startText(runtime), remedy })]
  }
  if (isElsewhere) {
    const detail = `${live.proxy === '' ? 'none' : live.proxy}, not ${proxyUrl}`
    return [...changed, found('RUNTIME_PROXY_DIFFERS', { subject, detail, remedy: again })]
  }
  const rest = [...changed, ...past]
  return rest.length > 0 ? rest : [ok(`${name} by ${via}: ${registries.join(', ')}`)]
}

function startText({ startedMs = 0, since }: AttachedRuntime): string {
  return `started ${utcText(startedMs)}, attached ${utcText(since)}`
}

function hidden(subject: string, noProxy: string, registries: string[]): Finding[] {
  const rules = new NoProxy(noProxy)
  return registries
    .filter((registry) => {
      const { host, port } = registryAddress(parseRegistryHost(registry))
      return rules.has(host, port)
    })
    .map((registry) =>
      found('REGISTRY_PAST_PROXY', { subject: `${subject}, ${registry}`, detail: `NO_PROXY=${noProxy}` }),
    )
}

function isSameUrl(one: string, other: string): boolean {
  const bare = (url: string) => url.replace(/^https?:\/\//, '').replace(/\/$/, '')
  return bare(one) === bare(other)
}
