import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { BenchRequirementError } from '../measure/errors.ts'

/** A package of `bench/peers/package.json`. Only benchmarks and tests that use it need to install it. */
export type IndependentPeer = 'bittorrent-tracker' | 'webtorrent'

/** For tests that are skipped without them. */
export const INDEPENDENT_PEERS = {
  kind: 'independent BitTorrent programs',
  lacks: [],
  remedy: 'npm run peers, and sudo apt-get install -y aria2 python3-libtorrent',
}

export function isPeerInstalled(name: IndependentPeer): boolean {
  return existsSync(manifestOf(name))
}

/** @throws BenchRequirementError with the install command */
export function versionOfPeer(name: IndependentPeer): string {
  if (!isPeerInstalled(name)) {
    throw new BenchRequirementError(`${name} is not installed`, {
      hint: '`npm run peers` installs it from its lock file; or leave it out with --systems.',
    })
  }
  return (JSON.parse(readFileSync(manifestOf(name), 'utf8')) as { version: string }).version
}

function manifestOf(name: IndependentPeer): string {
  return join(import.meta.dirname, 'node_modules', name, 'package.json')
}
