import { z } from 'zod'
import { isApiPath, parseRegistryHost, type RegistryHost } from './repository.ts'

/** What tracker and nodes tell each other about registries; parts of the messages in tracker-api.ts. */

export const registryHostSchema = z.string().transform((text, context): RegistryHost => {
  try {
    return parseRegistryHost(text)
  } catch {
    context.addIssue('not a registry host')
    return z.NEVER
  }
})

export const apiPathSchema = z
  .string()
  .refine(isApiPath, 'not a path as it stands before /v2/, such as /artifactory/api/docker/hub-remote')

/** What the tracker says about one registry. `kinds`: how callers turned out to authenticate; for people. */
export const registrySettingsSchema = z.object({
  host: registryHostSchema,
  apiPath: apiPathSchema.optional(),
  kinds: z.array(z.string().max(32)).max(8),
  issuer: z.string().max(1024).optional(),
  audience: z.string().max(1024).optional(),
})

/** The registries for which the tracker grants pulls. A node intercepts none of them without its own consent. */
export const registriesNews = z.object({
  /** Changes with the list; a node that knows it gets no list. */
  version: z.string().max(64),
  list: z.array(registrySettingsSchema).max(64),
})

/** A registry as the tracker names it. */
export type RegistryNamed = Pick<z.output<typeof registrySettingsSchema>, 'host' | 'apiPath'>
export type RegistriesNews = z.output<typeof registriesNews>
