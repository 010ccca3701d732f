import { z } from 'zod'

const NAME = /^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$/

/** Name of a zone or a rack. */
export const locationName = z.string().regex(NAME, 'lower-case letters, digits, dots and hyphens, at most 63')

/**
 * Where a node stands: nodes of one zone have fast links to each other, those of one rack the fastest. '' is none; racks are
 * told apart within their zone.
 */
export const nodeLocation = z.strictObject({
  zone: locationName.or(z.literal('')),
  rack: locationName.or(z.literal('')),
})

export type NodeLocation = z.output<typeof nodeLocation>

export const NOWHERE: NodeLocation = { zone: '', rack: '' }

/** Part of the answer to a heartbeat. Absent: an older tracker, which refuses `location`. */
export const locationNews = { knowsLocations: z.boolean().optional() }
