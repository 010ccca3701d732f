import { z } from 'zod'
import { plainJson } from '../../core/plain-text.ts'

/** What the node answers to `shoal cache`. Members that a newer node adds are passed on. */

export const blobSchema = z.looseObject({
  registry: z.string(),
  repository: z.string(),
  digest: z.string(),
  bytes: z.number(),
  heldBytes: z.number(),
  isWhole: z.boolean(),
  isInUse: z.boolean(),
  isPinned: z.boolean(),
  used: z.string(),
  others: z.number().optional(),
})
export type ShownBlob = z.output<typeof blobSchema>

const pinSchema = z.looseObject({
  name: z.string(),
  blobs: z.array(z.looseObject({ digest: z.string(), bytes: z.number() })),
})

export const cacheSchema = z.looseObject({
  cacheBytesMax: z.number(),
  diskReserveBytes: z.number(),
  heldBytes: z.number(),
  pinnedBytes: z.number(),
  evictions: z.number(),
  images: z.array(
    z.looseObject({
      name: z.string(),
      digest: z.string().optional(),
      blobs: z.number(),
      heldBlobs: z.number(),
      bytes: z.number(),
      heldBytes: z.number(),
      used: z.string(),
      isPinned: z.boolean(),
    }),
  ),
  blobs: z.array(blobSchema),
  pins: z.array(pinSchema),
})
export type ShownCache = z.output<typeof cacheSchema>

export const pinnedSchema = pinSchema
export const unpinnedSchema = z.looseObject({ name: z.string() })
export const prunedSchema = z.looseObject({
  isDryRun: z.boolean(),
  blobs: z.array(blobSchema),
  heldBytes: z.number(),
})
export const verifiedSchema = z.looseObject({
  blobs: z.array(blobSchema.extend({ checkedBytes: z.number(), wrongBytes: z.number() })),
})

export const JSON_FLAG = { type: 'boolean', description: 'Prints JSON, for scripts.' } as const

export function jsonText(value: unknown): string {
  return `${plainJson(value, 2)}\n`
}
