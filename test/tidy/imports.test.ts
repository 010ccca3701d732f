import { existsSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { isUpward, LAYERS, layerOf, MAY_IMPORT } from './layers.ts'
import {
  circles,
  type Import,
  importsOf,
  isSource,
  partOf,
  ROOT,
  repositoryFiles,
  textOf,
} from './source-files.ts'

const sources = repositoryFiles().filter(isSource)
const ours = (imported: string) => existsSync(`${ROOT}/${imported}`)

const edges = sources.flatMap((path) => importsOf(path))
const inner = edges.filter(({ to }) => ours(to))

const text = ({ from, to }: Import) => `${from} imports ${to}`
const breaches = (isBreach: (edge: Import) => boolean) => inner.filter(isBreach).map(text)

describe('imports', () => {
  it('are found at all', () => {
    expect(inner.length).toBeGreaterThan(200)
    expect(inner.map(text)).toContain('cli/tree.ts imports node/main.ts')
    expect(edges.map(text)).toContain('core/config.ts imports zod')
  })

  it('lead to files that are there, with their ending', () => {
    const parts = new Set(sources.map(partOf))
    const own = edges.filter(({ to }) => to.includes('/') && parts.has(partOf(to)))
    expect(own.length).toBeGreaterThan(200)
    expect(own.filter(({ to }) => !ours(to)).map(text)).toEqual([])
  })

  it('between parts point one way', () => {
    const parts = new Set(sources.map(partOf))
    expect([...parts].filter((part) => MAY_IMPORT[part] === undefined)).toEqual([])
    expect(
      breaches(({ from, to }) => {
        const [own, other] = [partOf(from), partOf(to)]
        return own !== other && !MAY_IMPORT[own]?.includes(other)
      }),
    ).toEqual([])
  })

  it('between the rooms of a part lead down', () => {
    // Throws when a file of such a part stands in no room.
    for (const path of sources) layerOf(path)
    const layers = Object.entries(LAYERS).flatMap(([part, all]) => all.map((layer) => ({ part, layer })))
    const empty = layers.filter(({ layer }) => !sources.some((path) => layer.test(path)))
    expect(empty).toEqual([])
    expect(breaches(isUpward)).toEqual([])
  })

  it('of programs are for the command line: nobody else starts several', () => {
    const isMain = (path: string) => /^(node|tracker)\/main\.ts$/.test(path)
    expect(breaches(({ from, to }) => isMain(to) && !/^(cli|test|lab|bench)\//.test(from))).toEqual([])
  })

  it('of the client go through client/index.ts', () => {
    const isOutside = (path: string) => !/^(client|test|bench)\//.test(path)
    expect(
      breaches(({ from, to }) => isOutside(from) && partOf(to) === 'client' && to !== 'client/index.ts'),
    ).toEqual([])
  })

  it('of a node take values of http from core/node-http.ts, which loads less', () => {
    const isOfNode = (path: string) => /^(core|client|proxy|node|relay)\//.test(path)
    const values = edges.filter(({ from, to, isType }) => isOfNode(from) && to === 'node:http' && !isType)
    expect(values.map(text)).toEqual([])
  })

  it('keep what decides in the client free of sockets and files, and of whatever imports those', () => {
    const pure = sources.filter(isPure)
    expect(pure.length).toBeGreaterThan(15)
    const io =
      /^(node:)?(net|tls|https?|http2|dgram|dns|fs|fs\/promises|worker_threads|timers|timers\/promises|undici)$/
    const isOutside = (path: string) => /^client\/(peer|membership|swarm)\//.test(path)
    expect([...reachedFrom(pure)].filter((path) => io.test(path) || isOutside(path))).toEqual([])
  })

  it('keep what decides in the client free of clocks and chance, which are passed in', () => {
    const clocks = /\b(Date\.now|performance\.now|new Date\(\)|setTimeout|setInterval|Math\.random)\b/
    expect(sources.filter((path) => isPure(path) && clocks.test(codeOf(path)))).toEqual([])
  })

  it('never bring fastify to a node', () => {
    const reached = reachedFrom(['node/main.ts'])
    expect(reached.size).toBeGreaterThan(30)
    expect([...reached].filter((path) => /^@?fastify/.test(path) || partOf(path) === 'tracker')).toEqual([])
  })

  it('go in no circle, of types neither', () => {
    expect(circles(inner)).toEqual([])
  })
})

/** Bytes to messages, and decisions. */
function isPure(path: string): boolean {
  return /^client\/((wire|engine)\/|store\/(bitfield|piece-hashes)\.ts$|origin\/(fallback-run|lease-requests|origin-plan)\.ts$)/.test(
    path,
  )
}

/** Everything that runs when `start` is imported; types are erased. */
function reachedFrom(start: string[]): Set<string> {
  const next = Map.groupBy(
    edges.filter(({ isType }) => !isType),
    ({ from }) => from,
  )
  const reached = new Set<string>()
  const visit = (path: string) => {
    if (reached.has(path)) return
    reached.add(path)
    for (const { to } of next.get(path) ?? []) visit(to)
  }
  for (const path of start) visit(path)
  return reached
}

/** Without comments. */
function codeOf(path: string): string {
  return textOf(path).replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')
}

describe('surroundings', () => {
  it('are read by programs only: process.env and process.argv are for what is started', () => {
    const isProgram = (path: string) =>
      ['cli/shoal.ts', 'vitest.config.ts'].includes(path) || /(^|\/)(main|run|[a-z-]+-main)\.ts$/.test(path)
    const readers = sources.filter(
      (path) => !path.startsWith('test/') && /process\.(env|argv)\b/.test(textOf(path)),
    )
    expect(readers.filter((path) => !isProgram(path) && !EXCEPTIONS.includes(path))).toEqual([])
  })
})

/** Files that may read the environment though they are no program; say why beside each. */
const EXCEPTIONS: string[] = [
  // The system's store is where OpenSSL's variables say.
  'core/system-authorities.ts',
  // Looks for the parts that it needs where the shell would.
  'lab/machine/requirements.ts',
  // Notes what tests skip where `npm test` says, and nothing on continuous integration.
  'lab/machine/skipped.ts',
  // Keeps what it fetched where the user's cache is.
  'lab/guests/guest-tree.ts',
  'lab/parts/parts.ts',
  // Commands that work on the settings of the node, which the environment may have.
  'cli/membership/settings.ts',
]
