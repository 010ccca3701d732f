import { z } from 'zod'

/**
 * Files in a data folder begin with the version of their form. An older program that finds a newer one drops what can be
 * had again (blobs, memory, records), and says so. It never drops what a node is: key, certificate and cluster keep their form,
 * and what is added to them is ignored by those that do not know it.
 */
const versioned = z.object({ version: z.int().positive() })

/** A newer Shoal wrote this: its version is above the one that this program knows. */
export function isNewer(content: unknown, known: number): boolean {
  const found = versioned.safeParse(content)
  return found.success && found.data.version > known
}
