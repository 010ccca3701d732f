import { once } from 'node:events'
import type { LabProcess } from '../machine/processes.ts'

/**
 * A front before the lab's registry, to imitate registries that differ from Debian's. It terminates TLS instead of
 * the registry and passes everything on. Its behaviour can be changed while it runs.
 */

export interface RegistryManners {
  /** Answers every range request with the whole blob. */
  ignoresRange?: boolean
  /** Blobs are answered with a redirect to the storage, a separate host that needs no credential. */
  redirectsBlobs?: boolean
  /** A token expires exactly when it says. Distribution allows a minute more. */
  isStrictAboutTime?: boolean
}

export interface FrontOptions {
  listenPort: number
  /** The registry's port, on loopback, without TLS. */
  registryPort: number
  storageOrigin: string
  tls: { certificatePem: string; privateKeyPem: string }
  /** Where `/token` of the registry's own host leads; the certificate's authority comes with it. */
  tokenServer: { host: string; port: number; authorityPem: string } | undefined
}

export interface FrontOrder {
  manners?: RegistryManners
  /** Closes every connection at once, in the middle of any transfer. */
  isHangingUp?: boolean
}

/** Longer than a busy machine needs to wake a process. */
const ORDER_PATIENCE_MS = 10_000

export interface RegistryFront {
  /** Resolves when requests are answered in this way. */
  behave(manners: RegistryManners): Promise<void>
  hangUp(): Promise<void>
}

/** @param part the running front; started with its standard output piped */
export function frontOf(part: () => LabProcess): RegistryFront {
  const order = async (wanted: FrontOrder) => {
    const { stdin, stdout } = part().child
    const obeyed = once(stdout!, 'data', { signal: AbortSignal.timeout(ORDER_PATIENCE_MS) })
    stdin!.write(`${JSON.stringify(wanted)}\n`)
    await obeyed
  }
  return { behave: (manners) => order({ manners }), hangUp: () => order({ isHangingUp: true }) }
}
