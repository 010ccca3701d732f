import { join } from 'node:path'
import { credentialFile } from './credentials.ts'

/** The files that `shoal attach` leaves for node and relay: only root can write in their folder. */

/** Not below the node's data folder: the user who runs the node could replace it. */
export const ATTACHED_DIR = '/var/lib/shoal-attach'
/** What the node may and shall do for the runtimes that are attached (consent.ts). */
export const CONSENT_FILE = 'consent.json'
/** URL of the proxy that the runtimes used before; a secret. */
export const UPSTREAM_FILE = 'upstream-proxy'
/** The same as a service manager passes it on. */
const UPSTREAM_CREDENTIAL = 'attached-proxy'

/** Where the URL of that proxy is, if there is one. */
export function attachedProxyFile(
  attachedDir: string,
  env: Readonly<Record<string, string | undefined>>,
): string {
  return credentialFile(UPSTREAM_CREDENTIAL, env) ?? join(attachedDir, UPSTREAM_FILE)
}
