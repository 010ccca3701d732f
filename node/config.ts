import { z } from 'zod'
import { ATTACHED_DIR } from '../core/attached-files.ts'
import { listenAddress } from '../core/config.ts'
import { NODE_DATA_DIR } from '../core/consent.ts'
import { TRACKERS_MAX } from '../core/join-string.ts'
import { locationName } from '../core/location.ts'
import { LOG_LEVELS } from '../core/log.ts'
import { registriesConfig } from '../core/registry-config.ts'
import { upstreamProxyConfig } from '../core/upstream-proxy-config.ts'
import { mirrorPlaces } from '../proxy/mirror-place.ts'
import { parsePermittedTargets } from '../proxy/upstream/target.ts'

const filePath = z.string().min(1).max(4096)

const permittedTargets = z.string().transform((text, context) => {
  try {
    return parsePermittedTargets(text)
  } catch {
    context.addIssue({ code: 'custom', message: 'expected address:port, separated by commas, or none' })
    return z.NEVER
  }
})

const trackerUrl = z.url({ protocol: /^https$/ })

function isListOfTrackers(text: string): boolean {
  const urls = text.split(',')
  return urls.length <= TRACKERS_MAX && urls.every((url) => trackerUrl.safeParse(url).success)
}

/** All settings of `shoal node` (docs/config.md). */
export const nodeConfig = z.strictObject({
  trackerUrl: z
    .string()
    .refine(isListOfTrackers, {
      error: `expected an https:// URL, or up to ${TRACKERS_MAX}, separated by commas`,
    })
    .optional()
    .describe(
      'The tracker of this cluster, as https://tracker.example.com:7443; several that share a database are separated by commas. Absent: those of `shoal join`.',
    ),
  trackerCaFile: filePath
    .optional()
    .describe("PEM certificates to trust for the tracker, in addition to the system's."),
  joinTokenFile: filePath
    .optional()
    .describe(
      "File with the cluster's join token, for nodes that join without `shoal join`. Needed at the first start; later the node certificate is enough.",
    ),
  dataDir: filePath
    .default(NODE_DATA_DIR)
    .describe('Folder for the node key, its certificate and the blobs.'),
  proxyListen: listenAddress
    .prefault('127.0.0.1:7070')
    .describe('Address of the proxy for the pulling clients on this machine; loopback only.'),
  peerListen: listenAddress.prefault('0.0.0.0:7071').describe('Address where other nodes reach this one.'),
  zone: locationName
    .optional()
    .describe(
      'Where this machine stands, for example the name of its data centre: nodes hear mostly of others of their zone, and of a few others. The same word on all machines with fast links to each other; absent on all where links are alike.',
    ),
  rack: locationName
    .optional()
    .describe(
      'The rack of this machine within its zone: nodes hear of others of their rack first. Needs zone. Absent where links between racks are as fast as within them.',
    ),
  adminListen: listenAddress
    .prefault('127.0.0.1:7072')
    .describe('Address for GET /healthz, /readyz and /metrics; loopback only.'),
  localSocket: filePath
    .optional()
    .describe(
      'Unix socket of the local API, which commands use: for the user of the node, root, and the group `shoal` if there is one. Default: /run/shoal/shoal.sock for the node of a package, otherwise shoal.sock in dataDir.',
    ),
  metricsListen: listenAddress
    .optional()
    .describe(
      'Address for GET /metrics over TLS, for a Prometheus on another machine; absent: none. Needs metricsCertFile and metricsKeyFile.',
    ),
  metricsCertFile: filePath
    .optional()
    .describe(
      'PEM certificate with its chain for metricsListen. It and its key are loaded again when their files change.',
    ),
  metricsKeyFile: filePath.optional().describe('PEM key of metricsCertFile.'),
  mirrorListen: mirrorPlaces
    .prefault('none')
    .describe(
      "Where container runtimes find the mirror (docs/mirror.md), separated by commas: loopback address:port, best with a port below 1024, or unix:/path. Requests name their registry (`?ns=`, as containerd's) or are for Docker Hub; `registry.example.com=127.0.0.1:578` serves that registry alone, for podman and CRI-O. `none` for no mirror.",
    ),
  registries: registriesConfig
    .default([])
    .describe(
      'The registries whose blobs Shoal serves, as in image names: registry.example.com,other.example.com:5000. The proxy tunnels connections to all other hosts.',
    ),
  registriesFromTracker: z
    .boolean()
    .default(false)
    .describe(
      'Also intercept every registry that the tracker names. Without it, only `registries` and attached registries are intercepted. Read at the start. These registries get no extra authorities and no extra redirects.',
    ),
  dockerCertsDir: z
    .string()
    .max(4096)
    .transform((path) => (path === 'none' ? '' : path))
    .default('/etc/docker/certs.d')
    .describe(
      "Docker's folder with what it trusts for each registry. Shoal puts shoal.crt there, and uses the other authorities (*.crt) and client certificates (*.cert with *.key) in it towards that registry, as Docker does; with `none` it writes and reads nothing there.",
    ),
  writesDockerCerts: z
    .boolean()
    .default(true)
    .describe(
      'Whether the node itself puts shoal.crt into dockerCertsDir, which needs root. The packages leave that to `shoal attach`.',
    ),
  authorityFile: filePath
    .optional()
    .describe(
      'File for the certificates that pulling clients must trust, for `ca` in a hosts.toml, or for links to it. Replaced at each start, and never removed; default proxy-ca.crt in dataDir, which only root can read. While a runtime is attached, they are in /var/lib/shoal-authority/ca.crt too.',
    ),
  attachedDir: z
    .string()
    .max(4096)
    .transform((path) => (path === 'none' ? '' : path))
    .default(ATTACHED_DIR)
    .describe(
      'Folder where `shoal attach` records the registries that this node may intercept in addition to `registries`, where the mirror listens in addition to `mirrorListen`, and the proxy that runtimes used before. The node reads it every two seconds; with `none` never.',
    ),
  p2pMinBytes: z
    .int()
    .min(1)
    .default(256 * 1024)
    .describe('Blobs smaller than this come straight from the registry. Bytes.'),
  cacheBytesMax: z
    .int()
    .min(0)
    .optional()
    .describe(
      'Room for the blobs that this node keeps and serves, in bytes. Default: 20 GiB or a tenth of the disk, whichever is less, and only while a fifth of the disk stays free.',
    ),
  cacheKeyFile: filePath
    .default('none')
    .describe(
      'File with the key that encrypts blobs in the cache (SHOALKEY-1-…, made by `shoal certs unlock-key`). `memory` makes a new key at each start, with an empty cache; `none` does not encrypt.',
    ),
  uploadBytesPerSecondMax: z
    .int()
    .nonnegative()
    .default(0)
    .describe('Total rate at which this node sends to peers, in bytes per second; 0: no limit.'),
  downloadBytesPerSecondMax: z
    .int()
    .nonnegative()
    .default(0)
    .describe(
      'Total rate at which this node fetches pieces from peers and the registry, in bytes per second; 0: no limit.',
    ),
  registryBytesPerSecondMax: z
    .int()
    .nonnegative()
    .default(0)
    .describe(
      'Rate at which this node fetches pieces from registries, within downloadBytesPerSecondMax, in bytes per second; 0: no limit. What the proxy passes through unchanged is not counted.',
    ),
  peerConnectionsMax: z
    .int()
    .min(8)
    .max(400)
    .default(400)
    .describe('Connections that other nodes may have opened to this one at a time; each takes about 48 KiB.'),
  trackerPatienceMs: z
    .int()
    .min(1)
    .max(600_000)
    .default(500)
    .describe(
      'How long an image waits for a working tracker to verify its pull; then its blobs come from the registry. A tracker that does not answer is waited for once, for two seconds. Milliseconds.',
    ),
  permitLinkLocal: z
    .boolean()
    .default(false)
    .describe('Permit tunnels to link-local addresses, where clouds have their metadata services.'),
  permittedTargets: permittedTargets
    .prefault('none')
    .describe(
      'Exceptions for tunnels that are otherwise denied (to this node itself, link-local and metadata addresses), as addresses with ports: 169.254.169.254:80,127.0.0.1:7072; `none` for no exception.',
    ),
  ...upstreamProxyConfig,
  logLevel: z
    .enum(LOG_LEVELS)
    .default('info')
    .describe(
      'Log this and everything more serious: fatal, error, warn, info, debug, trace; silent for nothing.',
    ),
})

export type NodeConfig = z.output<typeof nodeConfig>
