import { z } from 'zod'
import { registryHostSchema } from './registries-api.ts'

/** What `shoal attach` leaves for the node: only root can write there. */

/** Of the node, unless configured. */
export const NODE_DATA_DIR = '/var/lib/shoal'
/**
 * Where attached runtimes find the node's authority: in a folder that every user can read and that outlives a restart of
 * the machine. A trust file that leads nowhere fails every pull.
 */
export const PUBLIC_AUTHORITY = '/var/lib/shoal-authority/ca.crt'

export const consentSchema = z.object({
  /** Leave to intercept them. */
  registries: z.array(registryHostSchema),
  /** As the node's setting of this name: where runtimes ask the mirror. */
  mirrorListen: z.string().optional(),
  /** Where the node puts its authority too: runtimes have links to it. */
  authorityFile: z.string().startsWith('/').optional(),
  /** Of the runtime whose proxy stands in the file beside. */
  noProxy: z.string().optional(),
})

export type Consent = z.output<typeof consentSchema>
