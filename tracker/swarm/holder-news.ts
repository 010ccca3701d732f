import { HOLDERS_NEWS_MAX, HOLDERS_TOLD_MAX } from '../../core/holders-api.ts'
import type { SwarmId } from '../../core/metainfo.ts'
import type { Membership, Presence, SwarmPeers } from './peer-choice.ts'

/** A node is told of all holders anew after this time: an answer may have been lost on its way. */
export const HOLDERS_TOLD_AGAIN_MS = 15 * 60_000

export interface HolderNews {
  swarm: SwarmId
  others: number
  membership: Membership
}

/**
 * How many other nodes have the whole blob, of the node's swarms where that changed since it was told. Of a blob that the
 * node was not granted it hears 0, whoever has it, and once: it keeps its copy, and learns nothing.
 */
export function takeHolderNews(
  presence: Presence,
  swarms: ReadonlyMap<SwarmId, SwarmPeers>,
  nowMs: number,
): HolderNews[] {
  const isAgain = nowMs - presence.toldHoldersAtMs > HOLDERS_TOLD_AGAIN_MS
  if (isAgain) presence.toldHoldersAtMs = nowMs
  const news: HolderNews[] = []
  for (const [swarm, membership] of presence.memberships) {
    if (isAgain) forgetTold(membership)
    if (news.length === HOLDERS_NEWS_MAX) continue
    const seeds = swarms.get(swarm)!.seeds.length
    const counted = Math.min(HOLDERS_TOLD_MAX, membership.isSeed ? seeds - 1 : seeds)
    const others = membership.isGranted === false ? 0 : counted
    if (others === membership.toldOthers) continue
    membership.toldOthers = others
    news.push({ swarm, others, membership })
  }
  return news
}

/** Notes whether the node was granted the blob of a piece of news. @returns what it may be told */
export function judgeNews({ swarm, others, membership }: HolderNews, isGranted: boolean) {
  membership.isGranted = isGranted
  if (!isGranted) membership.toldOthers = 0
  return { swarm, others: isGranted ? others : 0 }
}

/** A grant stays on record for a day only: who had one is asked about no more. */
function forgetTold(membership: Membership): void {
  delete membership.toldOthers
  if (membership.isGranted === false) delete membership.isGranted
}
