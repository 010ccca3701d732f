import { existsSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { importsOf, isSource, partOf, ROOT, repositoryFiles, textOf } from './source-files.ts'

const sources = repositoryFiles().filter(isSource)
const ours = (imported: string) => existsSync(`${ROOT}/${imported}`)

interface Edge {
  from: string
  to: string
}
const edges: Edge[] = sources.flatMap((from) => importsOf(from).map((to) => ({ from, to })))
const inner = edges.filter(({ to }) => ours(to))

/** Which parts each part may import besides itself (`proxy → client → core`, `tracker → core`, …). */
const MAY_IMPORT: Record<string, string[]> = {
  core: [],
  client: ['core'],
  proxy: ['client', 'core'],
  tracker: ['core'],
  'certs-tool': ['core'],
  lab: ['core', 'client', 'proxy', 'tracker', 'certs-tool', ''],
  test: ['core', 'client', 'proxy', 'tracker', 'certs-tool', 'lab', 'bench', 'docs', ''],
  bench: ['core', 'client', 'proxy', 'tracker', 'certs-tool', 'lab', ''],
  docs: ['core', 'proxy', 'tracker', ''],
  '': ['core', 'proxy', 'tracker', 'certs-tool'],
}

const text = ({ from, to }: Edge) => `${from} imports ${to}`
const breaches = (isBreach: (edge: Edge) => boolean, among = inner) => among.filter(isBreach).map(text)

describe('imports', () => {
  it('are found at all', () => {
    expect(inner.length).toBeGreaterThan(200)
    expect(inner.map(text)).toContain('cli/shoal.ts imports node/main.ts')
    expect(edges.map(text)).toContain('core/config.ts imports zod')
  })

  it('lead to files that are there, with their ending', () => {
    const relative = sources.flatMap((from) => importsOf(from).map((to) => ({ from, to })))
    const missing = relative.filter(
      ({ to }) => to.includes('/') && /^(core|client|proxy|tracker|certs-tool|lab)\//.test(to),
    )
    expect(missing.filter(({ to }) => !ours(to)).map(text)).toEqual([])
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

  it('of programs are for cli/shoal.ts and cli/up.ts: nobody else starts several', () => {
    const isMain = (path: string) => /^(proxy|tracker|certs-tool)\/main\.ts$/.test(path)
    const starters = ['cli/shoal.ts', 'cli/up.ts']
    expect(
      breaches(({ from, to }) => isMain(to) && !starters.includes(from) && !/^(test|lab|bench)\//.test(from)),
    ).toEqual([])
  })

  it('of the client go through client/index.ts', () => {
    const isOutside = (path: string) => !/^(client|test|bench)\//.test(path)
    expect(
      breaches(({ from, to }) => isOutside(from) && partOf(to) === 'client' && to !== 'client/index.ts'),
    ).toEqual([])
  })

  it('keep the client’s wire and engine free of sockets and files, and of whatever imports those', () => {
    const pure = sources.filter(isPure)
    expect(pure.length).toBeGreaterThan(5)
    const io =
      /^(node:)?(net|tls|https?|http2|dgram|dns|fs|fs\/promises|worker_threads|timers|timers\/promises|undici)$/
    const reached = reachedFrom(pure)
    expect([...reached].filter((path) => io.test(path) || path.startsWith('client/net/'))).toEqual([])
  })

  it('keep the client’s wire and engine free of clocks and chance, which are passed in', () => {
    const clocks = /\b(Date\.now|performance\.now|new Date\(\)|setTimeout|setInterval|Math\.random)\b/
    expect(sources.filter((path) => isPure(path) && clocks.test(codeOf(path)))).toEqual([])
  })

  it('keep the client’s wire free of its engine', () => {
    expect(breaches(({ from, to }) => /^client\/wire\//.test(from) && /^client\/engine\//.test(to))).toEqual(
      [],
    )
  })

  it('let nothing in the client’s layers depend on net', () => {
    const isLayer = (path: string) => /^client\/(wire|engine|store)\//.test(path)
    expect(breaches(({ from, to }) => isLayer(from) && /^client\/net\//.test(to))).toEqual([])
  })

  it('never bring fastify to a node', () => {
    const reached = reachedFrom(['node/main.ts'])
    expect(reached.size).toBeGreaterThan(30)
    expect([...reached].filter((path) => /^@?fastify/.test(path) || partOf(path) === 'tracker')).toEqual([])
  })

  it('go in no circle', () => {
    expect(circles(inner.filter(({ from }) => !from.startsWith('test/')))).toEqual([])
  })
})

function isPure(path: string): boolean {
  return /^client\/(wire|engine)\//.test(path)
}

/** Everything that runs when `start` is imported; types are erased. */
function reachedFrom(start: string[]): Set<string> {
  const reached = new Set<string>()
  const visit = (path: string) => {
    if (reached.has(path)) return
    reached.add(path)
    for (const { from, to } of edges.filter((edge) => edge.from === path))
      if (!isTypeOnly(from, to)) visit(to)
  }
  for (const path of start) visit(path)
  return reached
}

/** Without comments. */
function codeOf(path: string): string {
  return textOf(path).replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')
}

/** Circles of imports that run code: `import type` is erased and may point anywhere. */
function circles(graph: Edge[]): string[] {
  const next = new Map<string, string[]>()
  for (const { from, to } of graph) {
    if (!isTypeOnly(from, to)) next.set(from, [...(next.get(from) ?? []), to])
  }
  const done = new Set<string>()
  const found: string[] = []
  const visit = (path: string, trail: string[]) => {
    if (trail.includes(path)) found.push([...trail.slice(trail.indexOf(path)), path].join(' → '))
    else if (!done.has(path)) for (const to of next.get(path) ?? []) visit(to, [...trail, path])
    done.add(path)
  }
  for (const path of next.keys()) visit(path, [])
  return found
}

function isTypeOnly(from: string, to: string): boolean {
  const name = to.slice(to.lastIndexOf('/') + 1).replace('.', '\\.')
  const statements = [
    ...textOf(from).matchAll(new RegExp(`(?:import|export)\\s([^;'"]*?)from\\s*['"][^'"]*${name}['"]`, 'g')),
  ]
  return (
    statements.length > 0 && statements.every(([, clause = '']) => clause.trimStart().startsWith('type '))
  )
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
  // Looks for the parts that it needs where the shell would.
  'lab/machine/requirements.ts',
]
