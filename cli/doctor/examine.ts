import { inTime } from '../../core/patience.ts'
import { type About, statusOf } from './about.ts'
import { LINKS, type LinkName, linkOf } from './chain.ts'
import { type Finding, found, unknown } from './finding.ts'
import { judgeClock } from './judge/clock.ts'
import { judgeDisk } from './judge/disk.ts'
import { judgeEndings } from './judge/endings.ts'
import { judgeGuard } from './judge/guard.ts'
import { judgeJoined } from './judge/joined.ts'
import { judgeLimits } from './judge/limits.ts'
import { judgeNode } from './judge/node.ts'
import { judgeProxy } from './judge/proxy.ts'
import { judgeNamed, judgePeers, judgePort } from './judge/reach.ts'
import { judgeRegistries } from './judge/registries.ts'
import { judgeRuntimes } from './judge/runtimes.ts'
import { judgeSettings, type SettingsFacts } from './judge/settings.ts'
import { judgeTrackers } from './judge/tracker.ts'
import { judgeTrust } from './judge/trust.ts'
import { judgeUpstream } from './judge/upstream.ts'
import { lookAtDisk } from './look/disk.ts'
import { lookAtGuard } from './look/guard.ts'
import { lookAtIdentity } from './look/identity.ts'
import { lookAtLimits } from './look/limits.ts'
import { lookAtProxy } from './look/proxy.ts'
import { lookAtReach } from './look/reach.ts'
import { lookAtRegistries } from './look/registries.ts'
import { lookAtRuntimes } from './look/runtimes.ts'
import { lookAtTrackers } from './look/tracker.ts'
import { lookAtTrust } from './look/trust.ts'
import { upstreamOf } from './look/upstream.ts'
import type { NodeCondition } from './node-view.ts'

/** Walks the chain: looks at all links side by side, and judges each. */

/** How long all links together may take; the node's status, which comes before, has three seconds of its own. */
export const LOOK_MS_MAX = 11_500

export interface LinkReport {
  link: LinkName | 'other node'
  findings: Finding[]
}

export async function examine(about: About, settings: SettingsFacts): Promise<LinkReport[]> {
  const upstream = upstreamOf(about)
  const runtimes = inTime(lookAtRuntimes(about), LOOK_MS_MAX)
  const registries = inTime(lookAtRegistries(about, upstream.proxy), LOOK_MS_MAX)
  const trackers = inTime(lookAtTrackers(about, upstream.proxy), LOOK_MS_MAX)
  const identity = inTime(
    Promise.resolve().then(() => lookAtIdentity(about)),
    LOOK_MS_MAX,
  )
  const reach = inTime(lookAtReach(about), LOOK_MS_MAX)
  const guard = runtimes.then((seen) => inTime(lookAtGuard(about, seen), LOOK_MS_MAX))
  const trust = runtimes.then((seen) => inTime(lookAtTrust(about, seen), LOOK_MS_MAX))
  const isPaused = statusOf(about)?.conditions.some(({ code }) => code.startsWith('PAUSED')) === true
  const judged: Record<LinkName, () => Promise<Finding[]> | Finding[]> = {
    settings: () => judgeSettings(settings),
    node: () => judgeNode(about.facts),
    guard: async () => judgeGuard(await guard),
    runtimes: async () => judgeRuntimes(await runtimes),
    proxy: async () => judgeProxy(await lookAtProxy(about)),
    trust: async () => judgeTrust(await trust, { isPaused }),
    registries: async () => judgeRegistries(await registries),
    upstream: async () => judgeUpstream(await inTime(upstream.look(), LOOK_MS_MAX)),
    tracker: async () => judgeTrackers(await trackers),
    clock: async () => {
      const looks = [...(await trackers.catch(() => [])), ...(await registries.catch(() => []))]
      return judgeClock(looks.flatMap(({ clock }) => (clock === undefined ? [] : [clock])))
    },
    joined: async () => judgeJoined((await identity).joined),
    port: async () => judgePort(await reach),
    peers: async () => judgePeers(await reach),
    disk: () => judgeDisk(lookAtDisk(about)),
    files: () => judgeLimits(lookAtLimits(about)),
    expiry: async () => {
      const { certificates, hidden } = (await identity).endings
      const theirs = (await trackers.catch(() => [])).flatMap(({ certificates: all }) => all)
      return judgeEndings({ nowMs: Date.now(), certificates: [...theirs, ...certificates], hidden })
    },
  }
  const own = await Promise.all(
    LINKS.map(async (link) => ({ link, findings: await orUnknown(link, judged[link]) })),
  )
  return withConditions(own, statusOf(about)?.conditions ?? [])
}

/** `--node N`: whether that node is reached, from the tracker and from here. */
export async function examineOther(about: About, node: string): Promise<LinkReport[]> {
  const judge = async () => judgeNamed(node, await inTime(lookAtReach(about, node), LOOK_MS_MAX))
  return [{ link: 'other node', findings: await orUnknown('other node', judge) }]
}

/** One link that could not be looked at hides no other. */
async function orUnknown(link: string, judge: () => Promise<Finding[]> | Finding[]): Promise<Finding[]> {
  try {
    return await judge()
  } catch (error) {
    return [unknown(link, (error as Error).message)]
  }
}

/** What the node itself knows to be wrong, where it belongs. */
function withConditions(reports: { link: LinkName; findings: Finding[] }[], conditions: NodeCondition[]) {
  return reports.map(({ link, findings }) => {
    const told = conditions
      .filter(({ code }) => linkOf(code) === link)
      .filter((condition) => !isSaid(condition, link, findings))
      .map(({ code, subject, facts }) => found(code, { subject, detail: factsText(facts) }))
    const isWrong = told.some(({ level }) => level === 'warning' || level === 'error')
    // Nothing is right about a link with which something is wrong as a whole.
    const kept = isWrong
      ? findings.filter(({ level }) => level !== 'ok' || link === 'registries' || link === 'node')
      : findings
    return { link, findings: [...kept, ...told] }
  })
}

/** The doctor found the same, or looked later than the node and found it right. */
function isSaid({ code, subject }: NodeCondition, link: LinkName, findings: Finding[]): boolean {
  const isBad = findings.some(({ level }) => level === 'warning' || level === 'error')
  const isRight = findings.some(({ level }) => level === 'ok')
  if (link === 'port') return isBad || isRight
  if (link === 'tracker' || link === 'clock') return isBad
  return findings.some((finding) => finding.code === code && finding.text.includes(subject))
}

function factsText(facts: NodeCondition['facts']): string | undefined {
  if (facts.reason !== undefined && Object.keys(facts).length === 1) return String(facts.reason)
  const texts = Object.entries(facts).map(([name, value]) => `${name}: ${value}`)
  return texts.length === 0 ? undefined : texts.join('; ')
}
