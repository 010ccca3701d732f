import { z } from 'zod'

/** Where a node stands: nodes of one zone have fast links to each other. Lower-case letters, digits, dots, hyphens. */
export const zoneName = z
  .string()
  .regex(
    /^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$/,
    'lower-case letters, digits, dots and hyphens, at most 63',
  )

/** Part of the answer to a heartbeat. Absent: an older tracker, which refuses `zone`. */
export const zoneNews = { knowsZones: z.boolean().optional() }
