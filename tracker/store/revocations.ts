import type { ClusterId } from '../../core/metainfo.ts'
import type { RegistryHost } from '../../core/repository.ts'

export interface NewRevocation {
  cluster: ClusterId
  kind: 'node' | 'pull'
  /** Node id or pull id. */
  target: string
  /** Registry of the pull whose subject's tokens are barred too; null for none. */
  registry: RegistryHost | null
  subject: string | null
  /** SHA-256 (hex) of the signing input of a token that is barred too; null for none. */
  tokenHash: string | null
  atMs: number
  /** When to clear it; null: only by an administrator. */
  endsAtMs: number | null
  /** The node gave its identity back. */
  isLeft: boolean
}

export interface RevocationRecord extends NewRevocation {
  sequence: number
}

export interface RevocationsRecord {
  inForce: RevocationRecord[]
  newestSequence: number
  newestClearing: number
}
