import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { PullerOptions } from './puller.ts'

/** For a client that reads one file only: all that Docker's folder for the registry has now. @returns its path */
export function writeTrustBundle(
  { host, registryHost }: Pick<PullerOptions, 'host' | 'registryHost'>,
  dir: string,
): string {
  const folder = join(host.etcDocker, 'certs.d', registryHost)
  const names = readdirSync(folder).filter((name) => name.endsWith('.crt'))
  const path = join(dir, 'trust.pem')
  writeFileSync(path, names.map((name) => readFileSync(join(folder, name), 'utf8')).join('\n'))
  return path
}
