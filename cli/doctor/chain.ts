/** The links of the chain that a shared pull needs, in the order in which they are walked. */
export const LINKS = [
  'settings',
  'node',
  'guard',
  'runtimes',
  'proxy',
  'trust',
  'registries',
  'upstream',
  'tracker',
  'clock',
  'joined',
  'port',
  'peers',
  'disk',
  'files',
  'expiry',
] as const

export type LinkName = (typeof LINKS)[number]

/** Where a condition of the node is said; those without a place are the node's. The first that fits counts. */
const PLACES: [RegExp, LinkName][] = [
  [/^(?:REGISTR|NO_REGISTRIES|DOCKER_HUB)/, 'registries'],
  [/^(?:CLIENT_DISTRUSTS|DOCKER_TRUST_HIDDEN)/, 'trust'],
  [/^ATTACHED/, 'runtimes'],
  [/^MIRROR/, 'proxy'],
  [/^UPSTREAM/, 'upstream'],
  [/^TRACKER/, 'tracker'],
  [/^CLOCK/, 'clock'],
  [/^(?:NOT_JOINED|IDENTITY)/, 'joined'],
  [/^PORT/, 'port'],
  [/^PEERS/, 'peers'],
  [/^(?:DISK|CACHE)/, 'disk'],
]

export function linkOf(code: string): LinkName {
  return PLACES.find(([pattern]) => pattern.test(code))?.[1] ?? 'node'
}
