import { readFileSync } from 'node:fs'
import type { Logger } from 'pino'
import type { ClientLimits, ClientOptions } from '../client/index.ts'
import { ConfigError, readSecretFile } from '../core/config.ts'
import { clusterOfJoinToken } from '../core/join-token.ts'
import type { NodeLocation } from '../core/location.ts'
import type { RegistryClients } from '../core/registry-client.ts'
import { cacheOptions } from './cache-options.ts'
import type { NodeConfig } from './config.ts'

/** What the settings say to the client, with the secrets of their files. */

/** @throws ConfigError for a file that cannot be read or is not what it should be */
export function clientOptions(config: NodeConfig, registries: RegistryClients, log: Logger): ClientOptions {
  return {
    trackerUrl: config.trackerUrl,
    dataDir: config.dataDir,
    peerListen: config.peerListen,
    ...cacheOptions(config),
    ...limitsOf(config),
    registries,
    registriesFromTracker: config.registriesFromTracker,
    log,
    ...(config.trackerCaFile === undefined ? {} : { trackerCaPem: readBundle(config.trackerCaFile) }),
    ...(config.joinTokenFile === undefined ? {} : { joinToken: readJoinToken(config.joinTokenFile) }),
  }
}

/** @throws ConfigError as `locationOf` */
export function limitsOf(config: NodeConfig): ClientLimits {
  const { uploadBytesPerSecondMax, downloadBytesPerSecondMax, registryBytesPerSecondMax } = config
  const { peerConnectionsMax, trackerPatienceMs } = config
  return {
    ...{ uploadBytesPerSecondMax, downloadBytesPerSecondMax, registryBytesPerSecondMax },
    ...{ peerConnectionsMax, trackerPatienceMs },
    location: locationOf(config),
  }
}

/** @throws ConfigError for a rack without a zone */
export function locationOf({ zone = '', rack = '' }: NodeConfig): NodeLocation {
  if (zone !== '' || rack === '') return { zone, rack }
  throw new ConfigError('rack: racks are told apart within their zone', {
    hint: 'Set zone too, or remove rack.',
  })
}

function readJoinToken(path: string): string {
  const joinToken = readSecretFile(path, 'joinTokenFile')
  if (clusterOfJoinToken(joinToken) === undefined) {
    const hint =
      'A join token is one line, SHOAL-1-…, as `shoal admin cluster create` or `shoal admin token rotate` printed it.'
    throw new ConfigError(`joinTokenFile: ${path} holds no join token`, { hint })
  }
  return joinToken
}

function readBundle(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    const hint =
      'The file must contain the PEM certificates of the authority that signed the tracker’s certificate.'
    throw new ConfigError(`trackerCaFile: cannot read ${path}`, { cause, hint })
  }
}
