/** The one of a proxy, which may change while pulls run: whoever needs it looks there each time. */
export interface SizeLimit {
  /** Smaller blobs come from the registry, because asking the swarm would take longer. Bytes. */
  p2pMinBytes: number
}
