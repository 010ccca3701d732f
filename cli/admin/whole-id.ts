import { type AdminAccess, ask } from '../../certs-tool/admin-client.ts'
import { PAGE_ENTRIES_MAX } from '../../core/admin-api/fields.ts'
import { UsageError } from '../../core/errors.ts'
import type { ClusterId } from '../../core/metainfo.ts'

/** Fewer digits fit too many. */
const PREFIX_CHARS_MIN = 4
/** Bound of the pages that are looked through for the beginning of an id. */
const PAGES_MAX = 100

interface Page {
  ids: string[]
  next: string | null
}

interface Kind {
  what: string
  chars: number
  command: string
  page: (access: AdminAccess, query: { cluster?: ClusterId; limit: number; cursor?: string }) => Promise<Page>
}

/** What tables show by the beginning of its id, by the field that names it in calls. */
const KINDS = {
  node: {
    what: 'node',
    chars: 40,
    command: 'shoal admin node ls',
    async page(access, query) {
      const { nodes, next } = await ask(access, 'nodes.list', query)
      return { ids: nodes.map(({ node }) => node), next }
    },
  },
  swarm: {
    what: 'swarm',
    chars: 40,
    command: 'shoal admin image blobs',
    async page(access, query) {
      const { swarms, next } = await ask(access, 'swarms.list', query)
      return { ids: swarms.map(({ swarm }) => swarm), next }
    },
  },
  pull: {
    what: 'pull',
    chars: 32,
    command: 'shoal admin pull ls',
    async page(access, query) {
      const { pulls, next } = await ask(access, 'pulls.list', query)
      return { ids: pulls.map(({ pull }) => pull), next }
    },
  },
} as const satisfies Record<string, Kind>

export type IdField = keyof typeof KINDS
export const ID_FIELDS = Object.keys(KINDS) as IdField[]

/** The id that begins so, as tables show it. @throws UsageError */
export async function wholeId(
  access: AdminAccess,
  field: IdField,
  text: string,
  cluster: string | undefined,
): Promise<string> {
  const { what, chars, command, page }: Kind = KINDS[field]
  const hint = `\`${command}\` lists the ${what}s.`
  if (text.length < PREFIX_CHARS_MIN || text.length > chars || !/^[0-9a-f]+$/.test(text)) {
    throw new UsageError(`not the id of a ${what}, nor its beginning: ${text.slice(0, 80)}`, { hint })
  }
  if (text.length === chars) return text
  const fitting = new Set<string>()
  let query: Parameters<Kind['page']>[1] = {
    limit: PAGE_ENTRIES_MAX,
    ...(cluster !== undefined && { cluster: cluster as ClusterId }),
  }
  for (let pages = 0; pages < PAGES_MAX; pages++) {
    const { ids, next } = await page(access, query)
    for (const id of ids) if (id.startsWith(text)) fitting.add(id)
    if (next === null) break
    query = { ...query, cursor: next }
  }
  const [only] = fitting
  if (only !== undefined && fitting.size === 1) return only
  throw new UsageError(
    only === undefined
      ? `no ${what}'s id begins with ${text}`
      : `${fitting.size} ${what}s' ids begin with ${text}`,
    { hint: only === undefined ? hint : 'Give more of it.' },
  )
}
