/** What an operator is told of each condition: one row each. docs/errors.md is made from them. */

/**
 * `info`: as configured, but worth knowing. `warning`: something is not shared. `error`: nothing is shared. The gravest last.
 */
export const SEVERITIES = ['info', 'warning', 'error'] as const
export type Severity = (typeof SEVERITIES)[number]

export interface ConditionText {
  /** A few words, for a table. */
  title: string
  severity: Severity
  /** What is so. One sentence. */
  text: string
  /** What it costs those who pull. */
  cost: string
  /** What to do; names the setting or the command. */
  remedy: string
}

export const CONDITIONS = {
  ATTACHED_LATER: {
    title: 'an attached runtime is not served yet',
    severity: 'warning',
    text: 'This node could not do what `shoal attach` asked of it.',
    cost: 'Pulls of that runtime may come from the registry and not be shared.',
    remedy:
      'Remove the cause that the reason names: the node tries again every few seconds, and at its start.',
  },
  CACHE_DAMAGED: {
    title: 'a stored blob was damaged',
    severity: 'warning',
    text: 'Bytes of a blob in the cache had changed on the disk, or could not be read.',
    cost: 'No wrong bytes were delivered. The damaged part is dropped and fetched again at the next pull.',
    remedy:
      'Run `shoal cache verify`, and look for errors of the disk of dataDir (`dmesg`, `smartctl`). The condition ends a day after the last damage.',
  },
  CACHE_FULL: {
    title: 'the cache is too small',
    severity: 'warning',
    text: 'A blob did not fit into the cache: it is larger than cacheBytesMax, or blobs in use or pinned fill the cache.',
    cost: 'Blobs that do not fit come from the registry and are not shared.',
    remedy: 'Raise cacheBytesMax (--cache-bytes-max), or unpin something (`shoal cache unpin`).',
  },
  CACHE_PINS_EXCEED: {
    title: 'the pinned blobs do not fit into the cache',
    severity: 'warning',
    text: 'The pinned blobs together take more than cacheBytesMax, which has become smaller.',
    cost: 'Other blobs come from the registry and are not shared; pinned ones that are missing do not come in.',
    remedy: 'Raise cacheBytesMax, or unpin something: `shoal cache ls` shows what is pinned.',
  },
  CACHE_PINS_LOST: {
    title: 'the list of pinned images is damaged',
    severity: 'warning',
    text: 'The file pins.json in the data folder cannot be read. The node goes on without pins.',
    cost: 'Pinned blobs may be evicted.',
    remedy: 'Pin the images again (`shoal cache pin`), which writes the file anew, and restart the node.',
  },
  CLIENT_DISTRUSTS: {
    title: 'a program does not trust this node',
    severity: 'warning',
    text: "A program rejects the proxy's certificate for a registry.",
    cost: 'Its connections to that registry are tunnelled for a while: what it pulls is not shared. Each time that ends, one connection fails.',
    remedy: 'Make the program trust the authority as `mend` says, or put the registry into its NO_PROXY.',
  },
  CLOCK_SKEWED: {
    title: "this machine's clock is wrong",
    severity: 'error',
    text: 'A certificate is not valid at the time of this machine, whose clock differs from that of the server.',
    cost: 'This node cannot verify that server, and shares nothing with it.',
    remedy: 'Set the clock of this machine and keep it right (chronyd, systemd-timesyncd or ntpd).',
  },
  DISK_LOW: {
    title: 'the disk is nearly full',
    severity: 'warning',
    text: 'The disk of the data folder has less free space than Shoal leaves for others, although nothing is left that could make room.',
    cost: 'New blobs come from the registry and are not shared. What is held is still served.',
    remedy:
      'Make room on the disk of dataDir, or move the folder (--data-dir). It ends by itself once there is room.',
  },
  DOCKER_HUB_NEEDS_MIRROR: {
    title: 'dockerd does not share Docker Hub',
    severity: 'info',
    text: 'Docker Hub is intercepted, but dockerd trusts no added authority for it, so its connections there are tunnelled.',
    cost: 'Pulls of dockerd from Docker Hub are not shared. Podman, Skopeo and Buildah share them.',
    remedy:
      "Set mirrorListen and name it in registry-mirrors of Docker's daemon.json (docs/mirror.md), or pull with Podman or Skopeo.",
  },
  DOCKER_TRUST_HIDDEN: {
    title: 'Docker does not look where shoal.crt is',
    severity: 'warning',
    text: "A hosts.toml, or a folder _default in Docker's certs.d, decides what is trusted for a registry.",
    cost: 'Clients that shoal.crt does not reach reject this node, and what they pull is not shared: those that read hosts.toml, or those that read no _default.',
    remedy: 'Follow the line `mend` above.',
  },
  IDENTITY_COPIED: {
    title: 'the data folder was copied from another machine',
    severity: 'error',
    text: 'The data folder had the identity of a node on another machine (its machine id differs). It was dropped: two machines must not be one node.',
    cost: 'Every pull comes from its registry, as without Shoal, until this machine joins as a node of its own.',
    remedy:
      'Run `shoal join` with a join string; `shoal admin token create`, on the tracker’s machine, makes one.',
  },
  METRICS_TLS: {
    title: 'the new certificate for metrics cannot be used',
    severity: 'info',
    text: 'The files in metricsCertFile and metricsKeyFile changed, and cannot be used together.',
    cost: 'Nothing is lost for pulls. The metrics listener goes on with the certificate that it had.',
    remedy: 'Put a PEM certificate with its chain into metricsCertFile, and its key into metricsKeyFile.',
  },
  MIRROR_PORT_OPEN: {
    title: 'a local user could take the port of the mirror',
    severity: 'warning',
    text: 'The mirror listens on a port that needs no rights, so any local user can take it while this node is down.',
    cost: 'Nothing now. Whoever takes the port gets the requests of the runtimes that name it, with their credentials.',
    remedy:
      'Set mirrorListen to a port below 1024, or to a socket as unix:/run/shoal/mirror.sock, and start the node before the runtimes.',
  },
  MIRROR_REFUSED: {
    title: 'pulls go past the mirror',
    severity: 'warning',
    text: 'A registry refused a pull that came through the mirror; the runtime then tries the registry itself.',
    cost: 'A private image that a runtime asks the mirror for without its credential comes from the registry and is not shared.',
    remedy:
      "Give podman and CRI-O an entry for the mirror's own address (podman login 127.0.0.1:578). For dockerd, which sends mirrors no credential, and wherever that is not possible, use the proxy (proxyListen) instead.",
  },
  NODES_AT_ONE_ADDRESS: {
    title: 'several nodes come from one address',
    severity: 'error',
    text: 'Said by a tracker: several nodes reach it from the same address and peer port, so something between hides their own addresses (a routing mesh, a balancer, NAT).',
    cost: 'The tracker lists these nodes at an address where nobody reaches them, dials back whatever is there, and they share its limits: none of them serves the others.',
    remedy:
      'Let nodes reach the tracker directly (Docker Swarm: publish its port with mode=host). Or let the balancer send PROXY protocol version 2, and name its addresses in the setting balancers of the tracker.',
  },
  NOT_JOINED: {
    title: 'not joined to a cluster',
    severity: 'error',
    text: 'This node has not joined its cluster, or its membership has ended.',
    cost: 'Every pull comes from its registry, as without Shoal.',
    remedy:
      'The reason says what is wrong. Run `shoal join` with a join string, which `shoal admin token create` makes. Or check --tracker-url and --tracker-ca-file, that the tracker runs, and the join token (--join-token-file).',
  },
  NO_REGISTRIES: {
    title: 'no registry is configured',
    severity: 'error',
    text: 'This node has no registry to share.',
    cost: 'Every pull comes from its registry, as without Shoal.',
    remedy: 'Name the registries with --registries.',
  },
  PAUSED: {
    title: 'paused on this machine',
    severity: 'warning',
    text: 'An operator paused this node: it tunnels every connection, and its mirror sends runtimes to the registry.',
    cost: 'Pulls of this machine come from the registry. The node still serves others.',
    remedy: 'Run `shoal resume`.',
  },
  PAUSED_BY_TRACKER: {
    title: 'paused by the tracker',
    severity: 'warning',
    text: 'An administrator of the tracker paused this node or its cluster: it tunnels every connection.',
    cost: 'Pulls of this machine come from the registry. The node still serves others that are not paused.',
    remedy:
      'Ask the administrators of the tracker: they end the pause through its admin API (docs/guard.md).',
  },
  PEERS_UNREACHABLE: {
    title: 'a peer cannot be reached',
    severity: 'warning',
    text: 'A connection to a peer of this cluster does not open.',
    cost: 'Blobs that only that peer has come from the registry. Nobody waits for that peer.',
    remedy:
      'Permit TCP to the peer’s port (peerListen) between the nodes, and check whether its `shoal node` runs.',
  },
  PORT_UNREACHED: {
    title: 'the tracker does not reach this node',
    severity: 'warning',
    text: 'The tracker cannot open a connection to the peer port of this node at the address that it lists.',
    cost: 'Other nodes may get nothing from this one; what only it has then comes from the registry. It still gets from them.',
    remedy:
      'Permit TCP from the tracker and the nodes to the port in peerListen. Behind NAT or in a container, publish that port under the same number.',
  },
  REGISTRIES_CHANGED: {
    title: 'the tracker names other registries than at the start',
    severity: 'warning',
    text: 'The tracker names a registry that this node does not intercept yet.',
    cost: 'Its blobs come from the registry, as without Shoal.',
    remedy: 'Start the node again.',
  },
  REGISTRIES_FROM_TRACKER: {
    title: 'the tracker decides what is intercepted',
    severity: 'info',
    text: 'As registriesFromTracker says, this node intercepts a registry that only the tracker names.',
    cost: "The tracker's owner sees no credential, but chooses which hosts this node reads.",
    remedy: 'To choose them here, name the registries with --registries and remove registriesFromTracker.',
  },
  REGISTRY_CLIENT_CERTIFICATE: {
    title: 'a client certificate cannot be used',
    severity: 'warning',
    text: 'This machine has a client certificate for a registry that Shoal cannot read or use.',
    cost: 'Connections to this registry are tunnelled, so that clients present the certificate themselves; nothing from it is shared.',
    remedy:
      "Let the user who runs Shoal read the .cert and .key files in Docker's certs.d folder of the registry, or name copies with the registry's clientCertFile and clientKeyFile.",
  },
  REGISTRY_HEAD_REFUSED: {
    title: 'the registry answers HEAD wrongly',
    severity: 'info',
    text: 'The registry refuses HEAD for a blob that it serves, answers it late, or with another length than GET.',
    cost: 'Shoal asks with a GET of one byte instead. Images are shared.',
    remedy: 'Nothing is needed. If a proxy stands before the registry, let HEAD requests pass as they are.',
  },
  REGISTRY_LATE: {
    title: 'the registry answers late',
    severity: 'warning',
    text: 'The registry takes much longer to say whether a caller may have a blob than to serve it, or more than a second.',
    cost: 'Blobs come from the registry until it answers in time again. Each is shared once a node has it whole.',
    remedy: 'Look at the load of the registry, or of the one behind it if it is a cache.',
  },
  REGISTRY_NOT_AT_TRACKER: {
    title: 'the tracker does not know a registry',
    severity: 'warning',
    text: 'This node names a registry for which the tracker grants no pulls.',
    cost: 'Its blobs come from the registry, as without Shoal.',
    remedy: 'Name it in the registries setting of the tracker too, or spell it as there.',
  },
  REGISTRY_NOT_CONSENTED: {
    title: 'a registry of the cluster is not shared here',
    severity: 'info',
    text: 'The tracker names a registry that this node was not told to intercept.',
    cost: 'Its blobs come from the registry, as without Shoal.',
    remedy:
      'Name it in `registries` and run `shoal reload`. Or set registriesFromTracker, and start the node again.',
  },
  REGISTRY_NOT_OPEN: {
    title: 'a registry of kind none asks for credentials',
    severity: 'warning',
    text: 'A registry is configured as `none`, but asked a stranger for a credential.',
    cost: 'Nothing is lost: each of its pulls is judged, as without a kind, also after a restart.',
    remedy:
      'Remove its kind. If it is open after all, stop the program and remove credentials-seen.json from its data folder.',
  },
  REGISTRY_NO_RANGES: {
    title: 'the registry serves no ranges',
    severity: 'warning',
    text: 'The registry answers a Range with the whole blob, or refuses it.',
    cost: 'One node at a time reads a new blob, from its start. The others take it from that node.',
    remedy: 'Let Range pass where a proxy or a cache stands before the registry.',
  },
  REGISTRY_PATH_DIFFERS: {
    title: 'tracker and node name different paths of a registry',
    severity: 'warning',
    text: 'The tracker and this node have different values of apiPath for a registry.',
    cost: 'Its blobs come from the registry, as without Shoal.',
    remedy:
      'Give the registry the same apiPath on both. Then run `shoal reload` on the node, or restart the tracker.',
  },
  REGISTRY_PLAIN_HTTP: {
    title: 'the registry speaks plain HTTP',
    severity: 'warning',
    text: 'The registry answers without TLS.',
    cost: 'Nothing of it is shared. Its connections are tunnelled, so pulls work as without Shoal.',
    remedy: 'Give the registry a certificate, or take it out of --registries.',
  },
  REGISTRY_RATE_LIMITED: {
    title: 'the registry limits requests',
    severity: 'warning',
    text: 'The registry answered 429: it has had too many requests of this address or user.',
    cost: 'For `seconds` this node asks it nothing of its own for that caller. Requests of Docker pass through, unshared; a 429 to one of them may be waited out for up to 30 s.',
    remedy:
      'Raise the limit at the registry, or let the pulling user log in with an account that has a higher one.',
  },
  REGISTRY_REDIRECT_REFUSED: {
    title: 'the registry redirects blobs to where Shoal does not follow',
    severity: 'warning',
    text: 'A redirect leads to this machine, to a link-local or metadata address, or through too many hosts.',
    cost: 'Blobs of this registry come from the registry, unshared.',
    remedy: 'Set permitPrivateRedirects for this registry in --registries if its store is really there.',
  },
  REGISTRY_SLOW: {
    title: 'a pull could not be verified in time',
    severity: 'warning',
    text: 'The tracker works, but could not verify a pull in time; usually the registry has not answered it yet.',
    cost: 'Blobs of that pull come from the registry and are not shared until it answers.',
    remedy:
      'Look at how long the registry takes to answer HEAD, and GET of one byte, for blobs. With tokenKeysFile, issuer and audience the tracker asks it less; a higher trackerPatienceMs waits longer.',
  },
  REGISTRY_TLS: {
    title: 'no TLS with a registry',
    severity: 'warning',
    text: 'A registry answers, and TLS with it fails before any certificate is checked.',
    cost: 'Connections to it are tunnelled, so that clients try it themselves; nothing from it is shared.',
    remedy:
      "The registry must offer TLS 1.2 or 1.3. If it requires a client certificate, put it into Docker's certs.d folder of the registry, or name it with clientCertFile and clientKeyFile.",
  },
  REGISTRY_UNREACHABLE: {
    title: 'a registry cannot be reached',
    severity: 'warning',
    text: 'A registry does not answer this node.',
    cost: 'The cluster serves what it holds to those whom the registry accepted within the last hour; other requests fail, as they would without Shoal.',
    remedy:
      'Check the network between this machine and the registry. If a proxy is the only way, name it with --upstream-proxy.',
  },
  REGISTRY_UNVERIFIED: {
    title: "a registry's certificate does not verify",
    severity: 'warning',
    text: "A registry's certificate does not verify with what this node trusts.",
    cost: 'Connections to it are tunnelled, so that clients verify it themselves; nothing from it is shared.',
    remedy:
      "Name the registry's authority with its caFile, or put it as a .crt file into Docker's certs.d folder of the registry (--docker-certs-dir).",
  },
  TRACKER_RESTORED: {
    title: 'the tracker was restored and grants nothing yet',
    severity: 'error',
    text: 'The tracker was restored from a backup and waits for its operator. Meanwhile it learns from the nodes what was revoked since.',
    cost: 'Pulls of this machine come from the registry, as without Shoal. Running pulls go on with the peers that they know.',
    remedy:
      'Run `shoal tracker confirm-restore` on the tracker’s machine within 8 hours: nodes whose certificates end meanwhile must join again.',
  },
  TRACKER_SILENT: {
    title: 'the tracker does not answer',
    severity: 'error',
    text: 'The tracker gives no usable answer to the heartbeats of this node.',
    cost: 'New pulls come from the registry at once, as without Shoal. Running pulls go on with the peers that they know.',
    remedy:
      'Look at `reason`, whether `shoal tracker` runs unlocked, and whether trackerUrl leads to it; a firewall may drop its port. This node tries again every two seconds.',
  },
  UPSTREAM_PROXY_REFUSED: {
    title: 'the upstream proxy wants a password',
    severity: 'error',
    text: 'The upstream proxy refuses this node without a valid user and password (407).',
    cost: 'Hosts behind the proxy cannot be reached through Shoal.',
    remedy: 'Put the URL with user and password into a file and name it with --upstream-proxy-file.',
  },
  UPSTREAM_PROXY_UNREACHABLE: {
    title: 'the upstream proxy cannot be reached',
    severity: 'error',
    text: 'The upstream proxy does not answer this node.',
    cost: 'Hosts behind the proxy cannot be reached through Shoal.',
    remedy:
      'Check --upstream-proxy or HTTPS_PROXY, and whether the proxy runs. Hosts that need no proxy belong into --no-proxy.',
  },
} as const satisfies Record<string, ConditionText>
