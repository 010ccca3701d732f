/** What the folders at the top may import besides themselves: `cli → node → proxy → client → core`, `tracker → core`, … */
export const MAY_IMPORT: Record<string, string[]> = {
  core: [],
  client: ['core'],
  proxy: ['client', 'core'],
  node: ['proxy', 'client', 'core'],
  tracker: ['core'],
  guard: ['core'],
  relay: ['proxy', 'core'],
  owners: ['proxy', 'core'],
  'certs-tool': ['core'],
  cli: ['node', 'tracker', 'guard', 'relay', 'owners', 'certs-tool', 'core'],
  lab: ['core', 'client', 'proxy', 'node', 'cli', 'tracker', 'guard', 'relay', 'owners', 'certs-tool'],
  bench: [
    'core',
    'client',
    'proxy',
    'node',
    'cli',
    'tracker',
    'guard',
    'relay',
    'owners',
    'certs-tool',
    'lab',
  ],
  test: [
    'core',
    'client',
    'proxy',
    'node',
    'cli',
    'tracker',
    'guard',
    'relay',
    'owners',
    'certs-tool',
    'lab',
    'bench',
    'deploy',
    'docs',
    '',
  ],
  deploy: ['cli', 'core', 'lab'],
  docs: ['core', 'proxy', 'node', 'cli', 'tracker'],
  // vitest.config.ts
  '': [],
}

/**
 * Inside a part, from the top down: a file imports from its own room and from what stands below it. Rooms of one line know
 * nothing of each other.
 */
export const LAYERS: Record<string, RegExp[]> = {
  client: [
    /^client\/(?:index|limits|node-client|remembered)\.ts$/,
    /^client\/(swarm)\//,
    /^client\/(origin|peer)\//,
    /^client\/(engine|membership)\//,
    /^client\/(store)\//,
    /^client\/(wire)\//,
    /^client\/(?:client|errors)\.ts$/,
  ],
  tracker: [
    /^tracker\/(?:init|main|locked|prune|saved-memory|store-news)\.ts$/,
    /^tracker\/(admin|stock)\//,
    /^tracker\/(api)\//,
    /^tracker\/(calls)\//,
    /^tracker\/parts\.ts$/,
    /^tracker\/(pull|swarm)\//,
    /^tracker\/(authority|handout)\//,
    /^tracker\/(store)\//,
    /^tracker\/[a-z-]+\.ts$/,
  ],
  lab: [
    /^lab\/(demo|pictures)\//,
    /^lab\/(field|guests|loopback|runtimes)\//,
    /^lab\/(?!errors)[a-z-]+\.ts$/,
    /^lab\/(stand-ins)\//,
    /^lab\/(pullers)\//,
    /^lab\/(database|image|parts|registry)\//,
    /^lab\/(machine)\//,
    /^lab\/errors\.ts$/,
  ],
  bench: [
    /^bench\/[a-z-]+\.ts$/,
    /^bench\/(engine|field|first-pull|fleet|memory|runtimes|sim|tracker)\//,
    /^bench\/(peers)\//,
    /^bench\/(measure)\//,
  ],
}

/** Where a file stands in its part; undefined in a part without layers. Throws when the part has layers and none is the file's. */
export function layerOf(path: string): { depth: number; room: string } | undefined {
  const layers = LAYERS[path.slice(0, Math.max(0, path.indexOf('/')))]
  if (layers === undefined) return undefined
  const depth = layers.findIndex((layer) => layer.test(path))
  if (depth < 0)
    throw new Error(`${path} stands in no layer of its part: give it a room, or test/tidy/layers.ts a line`)
  return { depth, room: layers[depth]?.exec(path)?.[1] ?? '' }
}

/** An import between rooms of one part that does not lead down. */
export function isUpward({ from, to }: { from: string; to: string }): boolean {
  if (from.slice(0, from.indexOf('/')) !== to.slice(0, to.indexOf('/'))) return false
  const [own, other] = [layerOf(from), layerOf(to)]
  if (own === undefined || other === undefined) return false
  return own.depth > other.depth || (own.depth === other.depth && own.room !== other.room)
}
