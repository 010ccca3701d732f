import type { NodeConfig } from './config.ts'

/**
 * Which settings a running node takes over when it reads them again (`shoal reload`, SIGHUP). The others need a restart:
 * they name what is opened, read or joined at the start. docs/config.md shows this table.
 */
export const IS_LIVE: Readonly<Record<keyof NodeConfig, boolean>> = {
  trackerUrl: false,
  trackerCaFile: false,
  joinTokenFile: false,
  dataDir: false,
  proxyListen: false,
  peerListen: false,
  zone: true,
  rack: true,
  adminListen: false,
  localSocket: false,
  metricsListen: false,
  metricsCertFile: false,
  metricsKeyFile: false,
  mirrorListen: false,
  registries: true,
  registriesFromTracker: false,
  dockerCertsDir: false,
  writesDockerCerts: false,
  authorityFile: false,
  attachedDir: false,
  p2pMinBytes: true,
  cacheBytesMax: true,
  cacheKeyFile: false,
  uploadBytesPerSecondMax: true,
  downloadBytesPerSecondMax: true,
  registryBytesPerSecondMax: true,
  peerConnectionsMax: true,
  trackerPatienceMs: true,
  permitLinkLocal: true,
  permittedTargets: true,
  upstreamProxy: false,
  upstreamProxyFile: false,
  upstreamProxyCaFile: false,
  noProxy: false,
  logLevel: true,
}
