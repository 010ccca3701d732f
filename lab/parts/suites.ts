/** What is fetched from Debian's newer suites, beside the machine's own Debian 12. */

export type Suite = 'trixie' | 'sid'

export interface SuitePlan {
  /** Packages by name, with the version that the tests are written for, as apt matches it (`*` ends it). */
  pinned: Record<string, string>
}

/** Programs of a plain system that the pinned ones call: their tree stands in for the whole of /usr. */
export const COMMON_PACKAGES = ['coreutils', 'dash', 'fuse3', 'mount', 'tar', 'util-linux'] as const

/** Stable: a version changes with a point release only, within its upstream version. */
const TRIXIE: SuitePlan = {
  pinned: {
    'docker.io': '26.1.5*',
    'docker-cli': '26.1.5*',
    'docker-buildx': '0.13.1*',
    'docker-compose': '2.26.1*',
    containerd: '1.7.24*',
    podman: '5.4.2*',
    buildah: '1.39.3*',
    skopeo: '1.18.0*',
    oras: '1.2.0*',
    'soci-snapshotter': '0.4.1*',
  },
}

/** Unstable: versions vanish without notice. */
const SID: SuitePlan = {
  pinned: {
    'docker.io': '28.5.*',
    'docker-cli': '28.5.*',
    'docker-buildx': '0.29.*',
    'docker-compose': '2.40.*',
    containerd: '2.1.*',
    podman: '5.8.*',
    buildah: '1.43.*',
    skopeo: '1.22.*',
    crane: '0.20.*',
    oras: '1.3.*',
    'soci-snapshotter': '0.4.1*',
  },
}

export const SUITES: Record<Suite, SuitePlan> = { trixie: TRIXIE, sid: SID }
