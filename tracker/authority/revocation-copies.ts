import { createHash, type KeyObject, sign, verify } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { z } from 'zod'
import { BoundedMap } from '../../core/bounded-map.ts'
import { batchKeyFromRaw } from '../../core/hash-batch.ts'
import type { ClusterId } from '../../core/metainfo.ts'
import { REVOCATION_COPY_CHARS_MAX } from '../../core/restore-api.ts'
import { clusterIdSchema } from '../../core/tracker-api.ts'
import type { NewRevocation, RevocationRecord } from '../store/revocations.ts'
import type { Cluster } from './cluster.ts'
import type { Sealer } from './sealer.ts'
import type { SigningKey } from './signing-key.ts'

/**
 * What nodes carry for a tracker that is restored from a backup: each revocation, and each change of the signing key, signed
 * with the cluster's signing key, so that no node can make one up. A copy is `<JSON>.<Ed25519 signature>`, both base64url.
 * Whom a revocation bars beside its target is sealed with the data key: names of users are not for nodes.
 */

const LABEL = 'shoal-revocation-copy-v1\n'
/** Bound of copies that a tracker keeps ready. Making one takes 50 µs. */
const COPIES_READY_MAX = 4096
/** Changes of the signing key since a backup that its tracker can follow. */
const KEY_CHANGES_FOLLOWED_MAX = 8

const timeMs = z.int().nonnegative()
const common = { cluster: clusterIdSchema, atMs: timeMs }
const statementSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    ...common,
    kind: z.enum(['node', 'pull']),
    sequence: z.int().positive(),
    target: z.string().regex(/^[0-9a-f]{1,64}$/),
    endsAtMs: timeMs.nullable(),
    isLeft: z.boolean(),
    /** base64url of a sealed `Barred`; null: it bars its target only. */
    barred: z.string().max(REVOCATION_COPY_CHARS_MAX).nullable(),
  }),
  /** The signing key that follows `follows`, which signs this. */
  z.strictObject({ ...common, kind: z.literal('key'), follows: z.string(), key: z.string() }),
])
const barredSchema = z.strictObject({
  registry: z.string().nullable(),
  subject: z.string().nullable(),
  tokenHash: z.string().nullable(),
})

export type Statement = z.output<typeof statementSchema>
export type CopiedRevocation = Extract<Statement, { sequence: number }>

/** The copies of this tracker, made when they are first asked for. */
export class RevocationCopies {
  readonly #sealer: Sealer
  readonly #ready = new BoundedMap<string, string>(COPIES_READY_MAX)

  constructor(sealer: Sealer) {
    this.#sealer = sealer
  }

  of({ cluster, signingKey }: Cluster, record: RevocationRecord): string {
    const name = `${cluster} ${record.sequence} ${signingKey.batchKeyPublic}`
    const ready = this.#ready.get(name)
    if (ready !== undefined) return ready
    const { sequence, kind, target, atMs, endsAtMs, isLeft } = record
    const statement = { cluster, atMs, kind, sequence, target, endsAtMs, isLeft }
    const copy = signed(signingKey, { ...statement, barred: this.#barred(record) })
    this.#ready.set(name, copy)
    return copy
  }

  /** While an earlier key is trusted: that the newest follows it. */
  ofKeyChange({ cluster, signingKeys, keyRotation }: Cluster): string | undefined {
    if (keyRotation === undefined) return undefined
    const { previous } = keyRotation
    const next = signingKeys.find(({ batchKeyPublic }) => batchKeyPublic !== previous.batchKeyPublic)!
    const name = `${cluster} ${previous.batchKeyPublic} ${next.batchKeyPublic}`
    const follows = previous.batchKeyPublic
    const ready = this.#ready.get(name)
    const statement = { kind: 'key', follows, key: next.batchKeyPublic, atMs: next.createdAtMs } as const
    const copy = ready ?? signed(previous, { cluster, ...statement })
    this.#ready.set(name, copy)
    return copy
  }

  /** What a copy says to put into force; `isWhole`: also whom it bars beside its target can be read. */
  revocationOf(copied: CopiedRevocation): { revocation: NewRevocation; isWhole: boolean } {
    const { cluster, kind, target, atMs, endsAtMs, isLeft, barred } = copied
    const nobody = { registry: null, subject: null, tokenHash: null }
    const opened = barred === null ? nobody : this.#opened(cluster, barred)
    const more = (opened ?? nobody) as Pick<NewRevocation, 'registry' | 'subject' | 'tokenHash'>
    return {
      revocation: { cluster, kind, target, atMs, endsAtMs, isLeft, ...more },
      isWhole: opened !== undefined,
    }
  }

  #barred({ cluster, registry, subject, tokenHash }: RevocationRecord): string | null {
    if (registry === null && subject === null && tokenHash === null) return null
    const text = JSON.stringify({ registry, subject, tokenHash })
    return this.#sealer.seal(barredPlaceOf(cluster), Buffer.from(text)).toString('base64url')
  }

  /** Undefined: the secrets were sealed with another key when the copy was made. */
  #opened(cluster: ClusterId, barred: string): z.output<typeof barredSchema> | undefined {
    try {
      const text = this.#sealer.open(barredPlaceOf(cluster), Buffer.from(barred, 'base64url')).toString()
      return barredSchema.parse(JSON.parse(text))
    } catch {
      return undefined
    }
  }
}

/** As `placeOf` of sealer.ts has them for what is in the store. */
function barredPlaceOf(cluster: ClusterId): string {
  return `barred by a revocation of ${cluster}`
}

function signed({ batchKey }: SigningKey, statement: Statement): string {
  const text = Buffer.from(JSON.stringify(statement))
  const signature = sign(null, Buffer.concat([Buffer.from(LABEL), text]), batchKey)
  return joined(text, signature)
}

function joined(text: Buffer, signature: Buffer): string {
  return `${text.toString('base64url')}.${signature.toString('base64url')}`
}

export function copyIdOf(copy: string): string {
  return createHash('sha256').update(copy).digest('hex')
}

/**
 * Those copies that a key of the cluster signed, also a key that follows one of them as a copy says. Whatever nodes bring, a
 * copy is compared with each key once, and other work gets its turn in between.
 * @param copies also what nobody signed
 */
export async function readCopies(
  { cluster, signingKeys }: Pick<Cluster, 'cluster' | 'signingKeys'>,
  copies: readonly string[],
): Promise<Map<string, Statement>> {
  let keys = new Map(
    signingKeys.map(({ batchKeyPublic }) => [batchKeyPublic, batchKeyFromRaw(batchKeyPublic)]),
  )
  const read = new Map<string, Statement>()
  let compared = 0
  // Each round may bring keys that signed others.
  for (let round = 0; round <= KEY_CHANGES_FOLLOWED_MAX && keys.size > 0; round += 1) {
    const next = new Map<string, KeyObject>()
    for (const copy of new Set(copies)) {
      if (read.has(copy)) continue
      compared += 1
      if (compared % COPIES_PER_TURN === 0) await turn()
      const statement = readCopy(cluster, keys, copy)
      if (statement === undefined) continue
      read.set(copy, statement)
      if (statement.kind === 'key') next.set(statement.key, batchKeyFromRaw(statement.key))
    }
    keys = next
  }
  return read
}

/** Copies that are compared before other work gets its turn: about 5 ms. */
const COPIES_PER_TURN = 64

function readCopy(
  cluster: ClusterId,
  keys: ReadonlyMap<string, KeyObject>,
  copy: string,
): Statement | undefined {
  const [text, signature, ...rest] = copy.split('.').map((part) => Buffer.from(part, 'base64url'))
  if (text === undefined || signature === undefined || rest.length > 0) return undefined
  // A signed copy can be spelled in many ways, of which each would count as another one.
  if (joined(text, signature) !== copy) return undefined
  const bytes = Buffer.concat([Buffer.from(LABEL), text])
  const signer = [...keys].find(([, key]) => verify(null, bytes, key, signature))
  if (signer === undefined) return undefined
  // Only a key of this cluster signed it, so it has the form that a tracker gives it, or one of a newer tracker.
  const parsed = statementSchema.safeParse(JSON.parse(text.toString()))
  if (!parsed.success || parsed.data.cluster !== cluster) return undefined
  return parsed.data.kind === 'key' && parsed.data.follows !== signer[0] ? undefined : parsed.data
}
