import { type AdminAccess, ask } from '../../certs-tool/admin-client.ts'
import { PAGE_ENTRIES_MAX } from '../../core/admin-api/fields.ts'
import { UsageError } from '../../core/errors.ts'
import { type ClusterId, isNodeId, type NodeId } from '../../core/metainfo.ts'

/** Least digits of a node's id in a command: fewer fit too many nodes. */
const PREFIX_CHARS_MIN = 4
/** Bound of the pages that are looked through for the beginning of an id. */
const PAGES_MAX = 100

/** Finds the node whose id begins with this text, as tables show it. @throws UsageError if there is none, or several */
export async function nodeOf(
  access: AdminAccess,
  text: string,
  cluster: string | undefined,
): Promise<NodeId> {
  if (isNodeId(text)) return text
  const hint = '`shoal admin node ls` lists the nodes.'
  if (text.length < PREFIX_CHARS_MIN || !/^[0-9a-f]{1,40}$/.test(text)) {
    throw new UsageError(`not the id of a node, nor its beginning: ${text.slice(0, 80)}`, { hint })
  }
  const fitting = new Set<string>()
  let cursor: string | undefined
  for (let page = 0; page < PAGES_MAX; page++) {
    const of = cluster === undefined ? {} : { cluster: cluster as ClusterId }
    const { nodes, next } = await ask(access, 'nodes.list', { ...of, limit: PAGE_ENTRIES_MAX, cursor })
    for (const { node } of nodes) if (node.startsWith(text)) fitting.add(node)
    if (next === null) break
    cursor = next
  }
  const [only] = fitting
  if (only !== undefined && fitting.size === 1) return only as NodeId
  throw new UsageError(
    only === undefined ? `no node's id begins with ${text}` : `${fitting.size} nodes' ids begin with ${text}`,
    { hint: only === undefined ? hint : 'Give more of it.' },
  )
}
