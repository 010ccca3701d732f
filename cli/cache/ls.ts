import { byteSize } from '../../core/byte-size.ts'
import { command } from '../../core/command.ts'
import { HOLDERS_TOLD_MAX } from '../../core/holders-api.ts'
import { localNode, NODE_FLAGS } from '../local-node.ts'
import { cacheSchema, JSON_FLAG, jsonText, type ShownBlob, type ShownCache } from './answers.ts'
import { agoText, type Column, shortDigest, table } from './table.ts'

export const cacheLsCommand = command({
  positionals: [],
  flags: {
    ...NODE_FLAGS,
    blobs: {
      type: 'boolean',
      description: 'List the blobs too, with the number of other nodes that have them.',
    },
    json: JSON_FLAG,
  },
  async run(values, _positionals, outside) {
    const cache = await localNode(values, outside).ask('/v1/cache', cacheSchema)
    if (values.json) return jsonText(cache)
    return cacheText(cache, { columns: outside.output.columns, withBlobs: values.blobs, nowMs: Date.now() })
  },
})

const IMAGE_COLUMNS: Column[] = [
  { title: 'IMAGE', isElastic: true },
  { title: 'BLOBS', isNumber: true },
  { title: 'HELD', isNumber: true },
  { title: 'LAST USED' },
  { title: 'PINNED' },
]
const BLOB_COLUMNS: Column[] = [
  { title: 'BLOB' },
  { title: 'REPOSITORY', isElastic: true },
  { title: 'SIZE', isNumber: true },
  { title: 'HELD', isNumber: true },
  { title: 'OTHERS', isNumber: true },
  { title: 'LAST USED' },
  { title: 'STATE' },
]

export function cacheText(
  cache: ShownCache,
  { columns, withBlobs, nowMs }: { columns: number; withBlobs: boolean; nowMs: number },
): string {
  const { heldBytes, cacheBytesMax, pinnedBytes, blobs, images } = cache
  const parts = [
    `${count(blobs.length, 'blob')}, ${byteSize(heldBytes)} of ${byteSize(cacheBytesMax)}; pinned: ${byteSize(pinnedBytes)}.\n`,
  ]
  if (images.length > 0) {
    const rows = images
      .toSorted((one, other) => other.used.localeCompare(one.used))
      .map((image) => [
        image.name,
        `${image.heldBlobs}/${image.blobs}`,
        byteSize(image.heldBytes),
        agoText(image.used, nowMs),
        image.isPinned ? 'pinned' : '',
      ])
    parts.push(table(IMAGE_COLUMNS, rows, columns))
  }
  if (withBlobs && blobs.length > 0) {
    const rows = blobs
      .toSorted((one, other) => other.used.localeCompare(one.used))
      .map((blob) => blobRow(blob, nowMs))
    parts.push(table(BLOB_COLUMNS, rows, columns))
  }
  const known = new Set(images.flatMap(({ name, digest }) => [name, `${name}@${digest}`]))
  const missing = cache.pins.filter(({ name }) => !known.has(name))
  if (missing.length > 0) parts.push(`Pinned besides:\n${missing.map(({ name }) => `  ${name}\n`).join('')}`)
  return parts.join('\n')
}

export function blobRow(blob: ShownBlob, nowMs: number): string[] {
  const { others } = blob
  const state = [blob.isInUse && 'in use', blob.isPinned && 'pinned', !blob.isWhole && 'part'].filter(Boolean)
  return [
    shortDigest(blob.digest),
    `${blob.registry}/${blob.repository}`,
    byteSize(blob.bytes),
    `${Math.floor((100 * blob.heldBytes) / blob.bytes)} %`,
    others === undefined ? '?' : others === HOLDERS_TOLD_MAX ? `${others}+` : String(others),
    agoText(blob.used, nowMs),
    state.join(', '),
  ]
}

export { BLOB_COLUMNS }

export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
