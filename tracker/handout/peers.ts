/** Decides which peers an asker hears of. Pure: randomness is passed in. It changes only the peers' own counters. */

/** Bound of peers in one answer for one swarm: a node dials 10 to 12, and keeps the rest in reserve. */
export const PEERS_HANDED_OUT_MAX = 30
/**
 * How often a peer is handed out between two of its heartbeats while others are known. A handshake costs it 1.3 ms of
 * CPU and it accepts about 24 connections, so it would only turn more away.
 */
export const HANDOUTS_PER_HEARTBEAT_MAX = 64
/** Candidates examined per wanted peer; keeps an answer's cost independent of the swarm's size. */
const TRIES_PER_PEER = 4

export interface PeerCandidate {
  /** Times handed out since its last heartbeat; the policy increments it. */
  handouts: number
}

export interface PeerPools<Candidate> {
  seeds: readonly Candidate[]
  leechers: readonly Candidate[]
}

export interface PeerQuestion<Candidate extends PeerCandidate> extends PeerPools<Candidate> {
  peersMax: number
  /** False for the asker itself and for revoked nodes. */
  isEligible(candidate: Candidate): boolean
  /** Named only where places are left. Default: none. */
  isLast?(candidate: Candidate): boolean
  /** In [0, 1). */
  random(): number
}

/**
 * Chooses up to `peersMax` distinct peers, at most half of them seeds while there are enough leechers. Of two random
 * candidates it takes the one handed out less, which spreads load without sorting the swarm. The result is in random order,
 * because a node dials the first dozen: with seeds first, newcomers knew the few first seeds and not each other (simulation of
 * 1,000 nodes over ten blob times: nodes that came when the first were done took twice as long).
 */
export function choosePeers<Candidate extends PeerCandidate>(question: PeerQuestion<Candidate>): Candidate[] {
  const chosen = drawPeers(question)
  for (const candidate of chosen) candidate.handouts += 1
  return shuffle([...chosen], question.random)
}

/** The peers of `choosePeers`, not counted and in no order. */
export function drawPeers<Candidate extends PeerCandidate>(
  question: PeerQuestion<Candidate>,
): Set<Candidate> {
  const { seeds, leechers, peersMax, isEligible, isLast } = question
  const chosen = new Set<Candidate>()
  const usual = isLast
    ? { ...question, isEligible: (candidate: Candidate) => !isLast(candidate) && isEligible(candidate) }
    : question
  draw(usual, seeds, Math.ceil(peersMax / 2), chosen)
  draw(usual, leechers, peersMax, chosen)
  draw(usual, seeds, peersMax, chosen)
  if (isLast && chosen.size < peersMax)
    for (const pool of [leechers, seeds]) draw(question, pool, peersMax, chosen)
  if (chosen.size === 0) fill(question, chosen)
  return chosen
}

/** Draws from `pool` until `chosen` has `target` members or no tries are left. */
function draw<Candidate extends PeerCandidate>(
  { isEligible, random }: PeerQuestion<Candidate>,
  pool: readonly Candidate[],
  target: number,
  chosen: Set<Candidate>,
): void {
  if (pool.length <= target * 2) {
    drawFromSmall({ isEligible, random }, pool, target, chosen)
    return
  }
  const pick = () => pool[Math.floor(random() * pool.length)]!
  for (let tries = (target - chosen.size) * TRIES_PER_PEER; tries > 0 && chosen.size < target; tries -= 1) {
    const [one, other] = [pick(), pick()]
    const candidate = one.handouts <= other.handouts ? one : other
    if (isFresh(candidate) && isEligible(candidate)) chosen.add(candidate)
  }
}

/** Takes a pool hardly larger than the target in the order of load, ties at random. */
function drawFromSmall<Candidate extends PeerCandidate>(
  { isEligible, random }: Pick<PeerQuestion<Candidate>, 'isEligible' | 'random'>,
  pool: readonly Candidate[],
  target: number,
  chosen: Set<Candidate>,
): void {
  const ranked = pool
    .filter((candidate) => isFresh(candidate) && isEligible(candidate))
    .map((candidate) => ({ candidate, rank: candidate.handouts + random() }))
    .sort((one, other) => one.rank - other.rank)
  for (const { candidate } of ranked) {
    if (chosen.size >= target) return
    chosen.add(candidate)
  }
}

/** If all are over their share, any peer is better than none. */
function fill<Candidate extends PeerCandidate>(
  question: PeerQuestion<Candidate>,
  chosen: Set<Candidate>,
): void {
  const { seeds, leechers, peersMax, isEligible, random } = question
  const pools = [leechers, seeds].filter((pool) => pool.length > 0)
  for (
    let tries = peersMax * TRIES_PER_PEER;
    tries > 0 && chosen.size < peersMax && pools.length > 0;
    tries -= 1
  ) {
    const pool = pools[Math.floor(random() * pools.length)]!
    const candidate = pool[Math.floor(random() * pool.length)]!
    if (isEligible(candidate)) chosen.add(candidate)
  }
}

/** In place (Fisher and Yates). */
export function shuffle<Item>(items: Item[], random: () => number): Item[] {
  for (let left = items.length; left > 1; left -= 1) {
    const at = Math.floor(random() * left)
    ;[items[left - 1], items[at]] = [items[at]!, items[left - 1]!]
  }
  return items
}

export function isFresh(candidate: PeerCandidate): boolean {
  return candidate.handouts < HANDOUTS_PER_HEARTBEAT_MAX
}
