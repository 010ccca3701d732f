import { byteSize } from '../../core/byte-size.ts'
import { command } from '../../core/command.ts'
import { shortDigest } from '../../core/digest.ts'
import { HOLDERS_TOLD_MAX } from '../../core/holders-api.ts'
import { plainText } from '../../core/plain-text.ts'
import { agoText } from '../../core/time-text.ts'
import { localNode, NODE_FLAGS } from '../local-node.ts'
import { type Cell, type Column, counted, type Look, lookOf, tableLines } from '../table.ts'
import { cacheSchema, JSON_FLAG, jsonText, type ShownBlob, type ShownCache } from './answers.ts'

export const cacheLsCommand = command({
  positionals: [],
  flags: {
    ...NODE_FLAGS,
    blobs: {
      type: 'boolean',
      description: 'Lists the blobs too, with the number of other nodes that have them.',
    },
    json: JSON_FLAG,
  },
  async run(values, _positionals, outside) {
    const cache = await localNode(values, outside).ask('/v1/cache', cacheSchema)
    if (values.json) return jsonText(cache)
    return cacheText(cache, { look: lookOf(outside), withBlobs: values.blobs, nowMs: Date.now() })
  },
})

const IMAGE_COLUMNS: Column[] = [
  { title: 'IMAGE', isFlexible: true },
  { title: 'BLOBS', align: 'right' },
  { title: 'HELD', align: 'right' },
  { title: 'LAST USED' },
  { title: 'PINNED' },
]
const BLOB_COLUMNS: Column[] = [
  { title: 'BLOB' },
  { title: 'REPOSITORY', isFlexible: true },
  { title: 'SIZE', align: 'right' },
  { title: 'HELD', align: 'right' },
  { title: 'OTHERS', align: 'right' },
  { title: 'LAST USED' },
  { title: 'STATE' },
]

interface ListOptions {
  look: Look
  withBlobs: boolean
  nowMs: number
}

export function cacheText(cache: ShownCache, { look, withBlobs, nowMs }: ListOptions): string {
  const { heldBytes, cacheBytesMax, pinnedBytes, blobs, images } = cache
  const held = `${counted(blobs.length, 'blob')}, ${byteSize(heldBytes)} of ${byteSize(cacheBytesMax)}`
  const parts = [[`${held}; pinned: ${byteSize(pinnedBytes)}.`]]
  const rows = byUse(images).map((image): Cell[] => [
    image.name,
    `${image.heldBlobs}/${image.blobs}`,
    byteSize(image.heldBytes),
    agoText(nowMs - Date.parse(image.used)),
    image.isPinned ? 'pinned' : '',
  ])
  parts.push(tableLines(IMAGE_COLUMNS, rows, look))
  if (withBlobs) parts.push(blobLines(blobs, { look, nowMs }))
  const shown = new Set(images.flatMap(({ name, digest }) => [name, `${name}@${digest}`]))
  const others = cache.pins.map(({ name }) => name).filter((name) => !shown.has(name))
  if (others.length > 0) parts.push(['Pinned besides:', ...others.map((name) => `  ${plainText(name)}`)])
  const pages = parts.filter((lines) => lines.length > 0).map((lines) => lines.join('\n'))
  return `${pages.join('\n\n')}\n`
}

export function blobLines(
  blobs: readonly ShownBlob[],
  { look, nowMs }: Omit<ListOptions, 'withBlobs'>,
): string[] {
  const rows = byUse(blobs).map((blob) => {
    const { others } = blob
    const state = [blob.isInUse && 'in use', blob.isPinned && 'pinned']
    return [
      shortDigest(blob.digest),
      `${blob.registry}/${blob.repository}`,
      byteSize(blob.bytes),
      `${Math.floor((100 * blob.heldBytes) / blob.bytes)} %`,
      others === undefined ? '?' : `${others}${others === HOLDERS_TOLD_MAX ? '+' : ''}`,
      agoText(nowMs - Date.parse(blob.used)),
      state.filter(Boolean).join(', '),
    ]
  })
  return tableLines(BLOB_COLUMNS, rows, look)
}

/** The last used first. @param used ISO 8601 */
function byUse<Used extends { used: string }>(all: readonly Used[]): Used[] {
  return all.toSorted((one, other) => other.used.localeCompare(one.used))
}
