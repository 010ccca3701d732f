import { once } from 'node:events'
import type { LabProcess } from '../machine/processes.ts'

/**
 * A front before the lab's registry, for what other registries do and Debian's does not. It terminates TLS in the
 * registry's place and hands everything on; its manners can be changed while it runs.
 */

export interface RegistryManners {
  /** Every blob is answered whole, whatever part is asked for. */
  ignoresRange?: boolean
  /** Blobs are answered with a redirect to the storage, a host of its own that wants no credential. */
  redirectsBlobs?: boolean
  /** A token counts no longer than it says. Distribution allows a minute more. */
  isStrictAboutTime?: boolean
}

export interface FrontOptions {
  listenPort: number
  /** Of the registry, on loopback, without TLS. */
  registryPort: number
  storageOrigin: string
  tls: { certificatePem: string; privateKeyPem: string }
}

export interface FrontOrder {
  manners?: RegistryManners
  /** Every connection is closed at once, in the middle of whatever goes over it. */
  isHangingUp?: boolean
}

/** Longer than a busy machine needs to wake a process. */
const ORDER_PATIENCE_MS = 10_000

export interface RegistryFront {
  /** Resolves when requests are answered so. */
  behave(manners: RegistryManners): Promise<void>
  hangUp(): Promise<void>
}

/** @param part the front as it runs now; started with its standard output piped */
export function frontOf(part: () => LabProcess): RegistryFront {
  const order = async (wanted: FrontOrder) => {
    const { stdin, stdout } = part().child
    const obeyed = once(stdout!, 'data', { signal: AbortSignal.timeout(ORDER_PATIENCE_MS) })
    stdin!.write(`${JSON.stringify(wanted)}\n`)
    await obeyed
  }
  return { behave: (manners) => order({ manners }), hangUp: () => order({ isHangingUp: true }) }
}
