import type { Digest } from '../../core/digest.ts'
import type { LabImage } from '../image/image.ts'
import type { LabHost } from '../machine/network.ts'
import type { LabProcesses } from '../machine/processes.ts'
import type { Account } from '../registry/registry.ts'

/** A pull of the largest image that a lab uses, on a shaped link, fits in. */
export const PULL_PATIENCE_MS = 10 * 60_000

export type PullerKind = 'docker' | 'skopeo' | 'podman'

/** A real pulling client on one host. */
export interface Puller {
  readonly kind: PullerKind
  /** Pulls by tag, as a person would. Rejects when the client fails. */
  pull(image: ImageReference): Promise<void>
  /** Hashes what the client stored. True when it is, byte for byte, what was pushed. */
  verify(image: ImageReference): Promise<boolean>
  /** Starts the image's program. @returns what it printed; undefined where the client runs nothing */
  run(image: ImageReference): Promise<string | undefined>
}

/** A pushed image and where it was pushed. */
export interface ImageReference extends LabImage {
  /** As a person writes it: `registry.shoal.test/team/app:v1`. */
  readonly name: string
}

export interface PullerOptions {
  host: LabHost
  processes: LabProcesses
  registryHost: string
  /** Undefined for an open registry. */
  account: Account | undefined
  /** URL of the node's proxy; undefined: the client goes straight to the registry. */
  proxyUrl: string | undefined
  cgroupParent: string
}

/** What a client's environment says about proxies; the same for all clients. */
export function proxyEnvironment({ proxyUrl }: PullerOptions): Record<string, string> {
  return proxyUrl === undefined ? {} : { HTTPS_PROXY: proxyUrl, https_proxy: proxyUrl }
}

/** Credentials as `docker login` stores them, for all clients: file contents, never an argument. */
export function authFile({ registryHost, account }: Pick<PullerOptions, 'registryHost' | 'account'>): string {
  if (account === undefined) return JSON.stringify({ auths: {} })
  const auth = Buffer.from(`${account.user}:${account.password}`).toString('base64')
  return JSON.stringify({ auths: { [registryHost]: { auth } } })
}

/** Digests that a store must hold for the image to be whole, uncompressed: the config and every layer. */
export function unpackedDigests(image: LabImage): Digest[] {
  return [image.configDigest, ...image.layers.map(({ diffId }) => diffId)]
}
