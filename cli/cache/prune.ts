import { byteSize } from '../../core/byte-size.ts'
import { command } from '../../core/command.ts'
import { UsageError } from '../../core/errors.ts'
import { localNode, NODE_FLAGS } from '../local-node.ts'
import { counted, lookOf } from '../table.ts'
import { JSON_FLAG, jsonText, prunedSchema } from './answers.ts'
import { blobLines } from './ls.ts'

/** Removing files takes a while on a slow disk. */
const PRUNE_PATIENCE_MS = 5 * 60_000

export const cachePruneCommand = command({
  positionals: [],
  flags: {
    ...NODE_FLAGS,
    'unused-for': {
      type: 'string',
      value: 'time',
      description: 'Removes what nobody used for this long: 90min, 12h, 30d.',
    },
    to: {
      type: 'string',
      value: 'size',
      description:
        'Removes, in the order in which the node itself would, until no more than this is held: 500MiB, 5GiB.',
    },
    all: { type: 'boolean', description: 'Removes all that is neither pinned nor in use.' },
    'dry-run': { type: 'boolean', description: 'Tells what would go, and removes nothing.' },
    json: JSON_FLAG,
  },
  async run(values, _positionals, outside) {
    const { 'unused-for': time, to: size, all: isAll, 'dry-run': isDryRun } = values
    if (time === undefined && size === undefined && !isAll) {
      throw new UsageError('nothing says what to remove', { hint: 'Give --unused-for, --to or --all.' })
    }
    const answer = await localNode(values, outside).ask('/v1/cache/prune', prunedSchema, {
      method: 'POST',
      body: {
        ...(time === undefined ? {} : { unusedForMs: msOf(time) }),
        ...(size === undefined ? {} : { toBytes: bytesOf(size) }),
        ...{ isAll, isDryRun },
      },
      patienceMs: PRUNE_PATIENCE_MS,
    })
    if (values.json) return jsonText(answer)
    const bytes = answer.blobs.reduce((sum, { heldBytes }) => sum + heldBytes, 0)
    const what = `${counted(answer.blobs.length, 'blob')}, ${byteSize(bytes)}`
    if (answer.blobs.length === 0) return 'Nothing to remove.\n'
    if (!isDryRun) return `Removed ${what}. Held now: ${byteSize(answer.heldBytes)}.\n`
    const lines = blobLines(answer.blobs, { look: lookOf(outside), nowMs: Date.now() })
    return `Would remove ${what}:\n\n${lines.join('\n')}\n`
  },
})

const TIME_UNITS: Record<string, number> = { s: 1000, min: 60_000, h: 3600_000, d: 24 * 3600_000 }
const SIZE_UNITS: Record<string, number> = {
  '': 1,
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
}

/** @throws UsageError */
export function msOf(text: string): number {
  return amountOf(text, TIME_UNITS, 'a time like 90min, 12h or 30d')
}

/** @throws UsageError */
export function bytesOf(text: string): number {
  return amountOf(text, SIZE_UNITS, 'a size like 500MiB or 5GiB')
}

function amountOf(text: string, units: Record<string, number>, what: string): number {
  const [, number = '', unit = ''] = /^(\d{1,12}(?:\.\d{1,3})?)\s*([A-Za-z]*)$/.exec(text) ?? []
  const factor = Object.hasOwn(units, unit) ? units[unit] : undefined
  if (number === '' || factor === undefined) {
    throw new UsageError(`${JSON.stringify(text.slice(0, 80))} is not ${what}`)
  }
  return Math.round(Number(number) * factor)
}
