/** Which blobs the proxy shares, by size. A reload may change it while pulls run, so its users read it each time. */
export interface SizeLimit {
  /** Smaller blobs come from the registry, because asking the swarm would take longer. Bytes. */
  p2pMinBytes: number
}
