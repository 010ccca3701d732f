import type { Dispatcher } from 'undici'
import type { Digest } from './digest.ts'
import type { RegistryHost, Repository } from './repository.ts'

/** A registry's answer to a HEAD request for a blob. A redirect counts as present; its length is then unknown. */
export type BlobHead = { isPresent: true; bytes: number | undefined } | { isPresent: false; status: number }

/**
 * One configured registry, over HTTPS with its certificate verified. The one place from which the proxy, the client
 * and the tracker talk to registries.
 */
export interface RegistryClient {
  readonly host: RegistryHost
  readonly kind: 'token' | 'introspect' | 'none'
  /** Keep-alive pool of the registry's origin; never follows redirects. */
  readonly dispatcher: Dispatcher
  /** @throws RegistryUnreachableError when there is no answer within `timeoutMs` */
  headBlob(request: {
    repository: Repository
    digest: Digest
    authorization: string | undefined
    signal?: AbortSignal
  }): Promise<BlobHead>
  close(): Promise<void>
}

export type RegistryClients = ReadonlyMap<RegistryHost, RegistryClient>
