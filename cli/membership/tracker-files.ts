import { join } from 'node:path'

/** Where `shoal tracker init` puts what a tracker needs. */

export const TRACKER_UNIT = 'shoal-tracker.service'
export const CONFIG_FILE = '/etc/shoal/tracker.json'

/** The packages' unit hands `tracker-tls.key` to the tracker. */
export function tlsFiles(folder: string) {
  return {
    authority: join(folder, 'tracker-authority.crt'),
    authorityKey: join(folder, 'tracker-authority.key'),
    tls: join(folder, 'tracker-tls.crt'),
    tlsKey: join(folder, 'tracker-tls.key'),
  }
}
