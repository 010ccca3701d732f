import type { Digest } from '../../core/digest.ts'
import type { LabImage } from '../image/image.ts'
import type { LabHost } from '../machine/network.ts'
import type { LabProcesses } from '../machine/processes.ts'
import type { Parts } from '../parts/parts.ts'
import type { Account } from '../registry/registry.ts'

/** Timeout of a pull: enough for the largest image of a lab on a shaped link. */
export const PULL_PATIENCE_MS = 10 * 60_000

export type PullerKind = 'docker' | 'skopeo' | 'podman'
/** Others are started where a test wants them, by its own hand. */
export type OtherPullerKind = 'buildah' | 'containerd' | 'crane' | 'curl' | 'oras' | 'stand-in'

/** A pulling client on one host. All but `stand-in` are real. */
export interface Puller {
  readonly kind: PullerKind | OtherPullerKind
  /** Pulls by tag, as a person would. Rejects when the client fails. */
  pull(image: ImageReference): Promise<void>
  /** Hashes the stored bytes. @returns true when they equal the pushed bytes */
  verify(image: ImageReference): Promise<boolean>
  /** Starts the image's program. @returns its output; undefined where the client runs nothing */
  run(image: ImageReference): Promise<string | undefined>
}

/** A pushed image and its place in the registry. */
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
  /** At other registries, by host. */
  otherAccounts?: Record<string, Account>
  /** URL of the node's proxy; undefined: the client goes straight to the registry. */
  proxyUrl: string | undefined
  cgroupParent: string
  /** Of the client, besides its proxy. */
  env?: Record<string, string>
  /** Undefined: the machine's own programs. */
  parts?: Parts
  /** A pull that takes longer has failed; default PULL_PATIENCE_MS. */
  patienceMs?: number
}

/** The command line that runs a client on its host. */
export function commandOf({ host, parts }: Pick<PullerOptions, 'host' | 'parts'>, argv: string[]): string[] {
  return host.command(parts === undefined ? argv : parts.command(argv))
}

/** A client's environment; the proxy's variables are the same for all. */
export function environmentOf({ proxyUrl, env }: PullerOptions): Record<string, string> {
  return { ...(proxyUrl === undefined ? {} : { HTTPS_PROXY: proxyUrl, https_proxy: proxyUrl }), ...env }
}

/** Credentials as `docker login` stores them, for all clients: file contents, never an argument. */
export function authFile({
  registryHost,
  account,
  otherAccounts = {},
}: Pick<PullerOptions, 'registryHost' | 'account' | 'otherAccounts'>): string {
  const accounts = { ...otherAccounts, ...(account === undefined ? {} : { [registryHost]: account }) }
  const auths = Object.entries(accounts).map(([host, { user, password }]) => [
    host,
    { auth: Buffer.from(`${user}:${password}`).toString('base64') },
  ])
  return JSON.stringify({ auths: Object.fromEntries(auths) })
}

/** Digests that a store must hold for a complete image, uncompressed: the config and every layer. */
export function unpackedDigests(image: LabImage): Digest[] {
  return [image.configDigest, ...image.layers.map(({ diffId }) => diffId)]
}

/** The same as the registry has them, for stores that keep layers so. */
export function packedDigests(image: LabImage): Digest[] {
  return [image.configDigest, ...image.layers.map(({ digest }) => digest)]
}
