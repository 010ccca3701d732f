import type { ClientPlan } from '../../lab/field/field-clients.ts'
import type { OddRegistry } from '../../lab/field/manners.ts'
import type { OddImage } from '../../lab/field/odd-image.ts'

/** One situation from the field: registries with their manners, and what is tried at them with Shoal and without. */
export interface FieldCase {
  name: string
  /** One sentence. */
  about: string
  /** Where people met it. */
  source: string
  registries: OddRegistry[]
  variants: FieldVariant[]
  /** It waits for minutes, so that it is in no test and is measured once. Its variants run side by side. */
  isLong?: boolean
  /** Every host reaches the registries through an HTTP proxy only. */
  isBehindProxy?: boolean
}

export interface FieldVariant {
  name: string
  registry: OddRegistry
  image: OddImage
  client: ClientPlan
  /** How many hosts pull at once: two show whether they share. */
  hosts: 1 | 2
  /** The caller's rights can be shown, and the blobs are large enough. */
  canShare: boolean
  /** Byte ranges of the first layer, instead of the whole image. */
  ranges?: [first: number, last: number][]
  /** What may leave the registry, in images; only where it is not the bound of what is shared. */
  copiesMax?: number
  /** A command of docker's, instead of a pull; `image` is its name. */
  command?: (image: string) => { argv: string[]; input?: string }
  /** It fails without Shoal as well, and must. */
  fails?: boolean
}

interface VariantOptions extends Partial<Omit<FieldVariant, 'name' | 'registry' | 'image' | 'client'>> {
  layers?: number[]
  flavour?: OddImage['flavour']
  oddities?: OddImage['oddities']
  repository?: string
  client?: ClientPlan['kind'] | ClientPlan
}

const LAYERS = [1_500_000]

/** By default two hosts with skopeo, which can share. A daemon is measured alone, and shares with nobody. */
export function variant(name: string, registry: OddRegistry, options: VariantOptions = {}): FieldVariant {
  const { layers = LAYERS, flavour, oddities, repository, client = 'skopeo', ...rest } = options
  const plan = typeof client === 'string' ? { kind: client } : client
  const hosts = options.hosts ?? (plan.kind === 'docker' ? 1 : 2)
  const image: OddImage = {
    repository: repository ?? `${registry.name.split('.')[0]}/${name}`,
    layerBytes: layers,
    ...(flavour && { flavour }),
    ...(oddities && { oddities }),
  }
  return { name, registry, image, client: plan, hosts, canShare: hosts === 2, ...rest }
}

export const ACCOUNT = { user: 'puller', password: 'field-password' }

/** A registry with tokens as Distribution has them. */
export const WITH_TOKENS = { authentication: { kind: 'jwt' as const, account: ACCOUNT } }
