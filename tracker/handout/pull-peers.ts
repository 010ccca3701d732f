import { drawPeers, isFresh, type PeerCandidate, type PeerPools, shuffle } from './peers.ts'

/**
 * Decides which nodes an asker with links hears of for all blobs of a pull together: it links to few nodes, and each link
 * carries all that both have. Pure: randomness is passed in. It changes only the peers' own counters.
 */

/** Bound of nodes in one answer for all blobs of a pull. */
export const PULL_NODES_MAX = 24
/** Nodes examined for a pull; keeps an answer's cost independent of the sizes of its swarms. */
export const PULL_NODES_SAMPLED_MAX = 256
/** A blob is scarce when it has at most this many holders: these are left to nodes that need that blob. */
export const SCARCE_HOLDERS_MAX = 3
/** A blob that this many other nodes cover needs no holder of a scarce one. */
const COVER_ENOUGH = 4

export interface PullPeersQuestion<Candidate extends PeerCandidate, Node> {
  /** The nodes of each blob of the pull. */
  blobs: readonly PeerPools<Candidate>[]
  nodesMax: number
  nodeOf(candidate: Candidate): Node
  /** What the node has of a blob, by the blob's place in `blobs`. */
  candidateOf(node: Node, blob: number): Candidate | undefined
  /** False for the asker itself, for revoked nodes and for those that this blob must not come from. */
  isEligible(candidate: Candidate, blob: number): boolean
  /** Named only where nobody else is. */
  isLast(candidate: Candidate): boolean
  /** In [0, 1). */
  random(): number
}

/** A node with what it has of the pull, by blob. */
interface Offer<Candidate> {
  has: Map<number, Candidate>
  isLast: boolean
  /** All its places are handed out. */
  isBusy: boolean
  /** How often it was handed out for a blob of the pull; ties at random. */
  load: number
  isScarce: boolean
}

/**
 * Chooses up to `nodesMax` nodes. As long as a blob has nobody, it takes a node that covers many such blobs: of those that
 * cover at least half as many as the best, the one handed out least. Then each next node is for the blob with the fewest
 * nodes, at most half of them seeds while others are there (`choosePeers` says why).
 * @returns the peers of each blob, in random order
 */
export function choosePullPeers<Candidate extends PeerCandidate & { isSeed: boolean }, Node>(
  question: PullPeersQuestion<Candidate, Node>,
): Candidate[][] {
  const { blobs, nodesMax, random } = question
  const rest = sampleOffers(question)
  const chosen: Offer<Candidate>[] = []
  while (chosen.length < nodesMax && rest.size > 0) {
    const next =
      coveringOffer(blobs.length, chosen, rest) ?? spreadingOffer(blobs.length, chosen, rest, nodesMax)
    if (next === undefined) break
    rest.delete(next)
    chosen.push(next)
  }
  const lists = blobs.map((_, blob) => shuffle(listed(blob, chosen, blobs[blob]!), random))
  for (const candidate of lists.flat()) candidate.handouts += 1
  return lists
}

function sampleOffers<Candidate extends PeerCandidate, Node>(
  question: PullPeersQuestion<Candidate, Node>,
): Set<Offer<Candidate>> {
  const { blobs, nodesMax, isLast, random } = question
  const peersMax = Math.min(2 * nodesMax, Math.max(2, Math.ceil(PULL_NODES_SAMPLED_MAX / blobs.length)))
  const nodes = new Set<Node>()
  const scarceFirst = [...blobs.keys()].sort((one, other) => holders(blobs[one]!) - holders(blobs[other]!))
  for (const blob of scarceFirst) {
    const isEligible = (candidate: Candidate) => question.isEligible(candidate, blob)
    for (const candidate of drawPeers({ ...blobs[blob]!, peersMax, isEligible, isLast, random })) {
      if (nodes.size < PULL_NODES_SAMPLED_MAX) nodes.add(question.nodeOf(candidate))
    }
  }
  return new Set([...nodes].map((node) => offerOf(question, node)))
}

function offerOf<Candidate extends PeerCandidate, Node>(
  { blobs, candidateOf, isEligible, isLast, random }: PullPeersQuestion<Candidate, Node>,
  node: Node,
): Offer<Candidate> {
  const has = new Map<number, Candidate>()
  for (const blob of blobs.keys()) {
    const candidate = candidateOf(node, blob)
    if (candidate !== undefined && isEligible(candidate, blob)) has.set(blob, candidate)
  }
  const all = [...has.values()]
  return {
    has,
    isLast: all.some(isLast),
    isBusy: !all.every(isFresh),
    load: Math.max(...all.map(({ handouts }) => handouts)) + random(),
    isScarce: [...has.keys()].some((blob) => isScarce(blobs[blob]!)),
  }
}

/** For blobs that nobody covers yet. */
function coveringOffer<Candidate>(
  blobCount: number,
  chosen: readonly Offer<Candidate>[],
  rest: ReadonlySet<Offer<Candidate>>,
): Offer<Candidate> | undefined {
  const bare = new Set(Array.from({ length: blobCount }, (_, blob) => blob))
  for (const { has } of chosen) for (const blob of has.keys()) bare.delete(blob)
  if (bare.size === 0) return undefined
  const gains = [...rest].map((offer) => {
    return { offer, gain: [...offer.has.keys()].filter((blob) => bare.has(blob)).length }
  })
  const useful = gains.filter(({ gain }) => gain > 0)
  const usual = useful.filter(({ offer }) => !offer.isLast)
  const among = usual.length > 0 ? usual : useful
  const best = Math.max(0, ...among.map(({ gain }) => gain))
  return least(among.filter(({ gain }) => gain * 2 >= best).map(({ offer }) => offer))
}

/** For the blob with the fewest nodes. */
function spreadingOffer<Candidate extends { isSeed: boolean }>(
  blobCount: number,
  chosen: readonly Offer<Candidate>[],
  rest: ReadonlySet<Offer<Candidate>>,
  nodesMax: number,
): Offer<Candidate> | undefined {
  const places = Array.from({ length: blobCount }, (_, blob) => {
    const offers = [...rest].filter(({ has }) => has.has(blob))
    return { blob, offers, cover: chosen.filter(({ has }) => has.has(blob)).length }
  }).filter(({ offers }) => offers.length > 0)
  const fewest = Math.min(...places.map(({ cover }) => cover))
  const place = places.find(({ cover }) => cover === fewest)
  if (place === undefined) return undefined
  const isSeed = ({ has }: Offer<Candidate>) => has.get(place.blob)?.isSeed === true
  const hasManySeeds = chosen.filter(isSeed).length * 2 >= nodesMax
  const leechers = hasManySeeds ? place.offers.filter((offer) => !isSeed(offer) && !offer.isLast) : []
  return least(leechers.length > 0 ? leechers : place.offers)
}

function least<Candidate>(offers: readonly Offer<Candidate>[]): Offer<Candidate> | undefined {
  const rank = ({ isLast, isBusy }: Offer<Candidate>) => (isLast ? 2 : 0) + (isBusy ? 1 : 0)
  return offers.reduce<Offer<Candidate> | undefined>((best, offer) => {
    if (best === undefined) return offer
    return rank(offer) - rank(best) || offer.load - best.load < 0 ? offer : best
  }, undefined)
}

/** The only holders of one blob are not named for another that enough others have. */
function listed<Candidate extends PeerCandidate>(
  blob: number,
  chosen: readonly Offer<Candidate>[],
  pools: PeerPools<Candidate>,
): Candidate[] {
  const having = chosen.filter(({ has }) => has.has(blob))
  const others = having.filter((offer) => !offer.isScarce)
  const named = isScarce(pools) || others.length < COVER_ENOUGH ? having : others
  return named.map(({ has }) => has.get(blob)!)
}

function holders<Candidate>({ seeds, leechers }: PeerPools<Candidate>): number {
  return seeds.length + leechers.length
}

function isScarce<Candidate>(pools: PeerPools<Candidate>): boolean {
  return holders(pools) <= SCARCE_HOLDERS_MAX
}
