import { existsSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { RegistryHost } from '../../core/repository.ts'
import type { SocketOwner } from '../socket-owner.ts'
import { DOCKER_FILE_NAME, trustFolders } from '../trust-files.ts'

/** Where this node publishes its authority. */
export interface TrustedPlaces {
  /** Docker's `certs.d`; '' if the node writes nothing there. */
  dockerCertsDir: string
  /** The file for all other clients. */
  authorityFile: string
}

/** What Docker reads, unless it is told otherwise. */
const DOCKER_CERTS_DIR = '/etc/docker/certs.d'
/** Their commands and their services are named alike: k3s, containerd-shim-runc-v2, podman-remote. */
const KINDS: readonly [RegExp, Kind][] = [
  [/^dockerd/, docker],
  [/^(containerd|ctr|nerdctl|k3s|rke2|k0s|kubelet)/, containerd],
  [/^(skopeo|podman|buildah|crio)/, podman],
  [/^curl/, ({ places }) => `curl --cacert ${places.authorityFile}`],
  [/^wget/, ({ places }) => `wget --ca-certificate=${places.authorityFile}`],
  [/^node/, ({ places }) => `NODE_EXTRA_CA_CERTS=${places.authorityFile}`],
  [/^python/, ({ places }) => `REQUESTS_CA_BUNDLE=<a bundle that has ${places.authorityFile} too>`],
]

interface RemedyQuestion {
  registry: RegistryHost
  places: TrustedPlaces
  /** Whether a file exists. */
  exists: (path: string) => boolean
}
type Kind = (question: RemedyQuestion) => string

/**
 * The one line that makes a program trust this node's authority for the registry.
 * @param exists tests pass their own
 */
export function trustRemedy(
  { executable = '' }: Pick<SocketOwner, 'executable'>,
  question: Omit<RemedyQuestion, 'exists'> & Partial<Pick<RemedyQuestion, 'exists'>>,
): string {
  const name = basename(executable)
  const [, remedy] = KINDS.find(([names]) => names.test(name)) ?? [undefined, other]
  return remedy({ exists: existsSync, ...question })
}

function docker({ registry, places, exists }: RemedyQuestion): string {
  const folder = trustFolders(places.dockerCertsDir || DOCKER_CERTS_DIR, registry, exists)[0]!
  const file = join(folder, DOCKER_FILE_NAME)
  if (!exists(file)) {
    return places.dockerCertsDir === ''
      ? `${file} is missing, as dockerCertsDir is none: copy ${places.authorityFile} there`
      : `${file} is missing: restart the node, which writes it at its start`
  }
  const hosts = join(folder, 'hosts.toml')
  if (exists(hosts)) return `${hosts} hides ${file}: add ca = ["${places.authorityFile}"] to its host`
  if (places.dockerCertsDir !== DOCKER_CERTS_DIR)
    return `dockerd reads ${DOCKER_CERTS_DIR}: set dockerCertsDir to it`
  return `${file} is in place: if dockerd began its pull before this node started, pull again`
}

function containerd({ registry, places }: RemedyQuestion): string {
  return `in /etc/containerd/certs.d/${registry}/hosts.toml, under [host."https://${registry}"]: ca = ["${places.authorityFile}"]`
}

function podman({ registry, places, exists }: RemedyQuestion): string {
  const file = join(places.dockerCertsDir || DOCKER_CERTS_DIR, registry, DOCKER_FILE_NAME)
  if (places.dockerCertsDir === DOCKER_CERTS_DIR && exists(file)) {
    return `${file} is in place: let its user read it, or give the program --cert-dir ${join(places.dockerCertsDir, registry)}`
  }
  return `copy ${places.authorityFile} to /etc/containers/certs.d/${registry}/${DOCKER_FILE_NAME}`
}

function other({ places }: RemedyQuestion): string {
  return `add ${places.authorityFile} to the system's authorities (update-ca-certificates), or set SSL_CERT_FILE to a bundle that has it too`
}
