import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * A secret that the service manager handed over (systemd.exec(5), `LoadCredential=`): root read it, and it is in memory
 * that only this service sees.
 * @returns its path; undefined if there is none, or a blank one, which stands for a file that is missing
 */
export function credentialFile(
  name: string,
  { CREDENTIALS_DIRECTORY: folder }: Readonly<Record<string, string | undefined>>,
): string | undefined {
  if (!folder) return undefined
  const path = join(folder, name)
  return existsSync(path) && readFileSync(path, 'utf8').trim() !== '' ? path : undefined
}
