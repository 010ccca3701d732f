import { AttachUnsupportedError } from '../errors.ts'
import type { RuntimeKind } from '../plan.ts'
import {
  INSECURE_MIRROR_NOTE,
  narrowerNotes,
  type RegistryEntries,
  registriesEdit,
  registryEntries,
} from '../registries-conf.ts'
import { unitFacts } from '../systemd.ts'

export interface CrioFacts {
  version: string | undefined
  hasUnit: boolean
  entries: RegistryEntries
}

/** CRI-O sends a mirror the credentials that the kubelet gave it, and reads its registries again at a reload. */
export const crio: RuntimeKind<CrioFacts> = {
  name: 'cri-o',
  via: 'mirror',
  async gather({ tree, run }) {
    return {
      version: /ersion:?\s+v?(\d[\w.~+-]*)/.exec((await run(['crio', '--version'])) ?? '')?.[1],
      hasUnit: unitFacts(tree, 'crio.service') !== undefined,
      entries: registryEntries(tree, 'cri-o'),
    }
  },
  plan({ version, hasUnit, entries }, settings) {
    if (version === undefined && !hasUnit) {
      throw new AttachUnsupportedError('there is no CRI-O on this machine: neither crio nor crio.service', {
        hint: 'Install it, or name another runtime: docker, containerd, podman or buildkit.',
      })
    }
    if (settings.via === 'proxy') {
      throw new AttachUnsupportedError('CRI-O is attached by its mirror setting, which needs no proxy', {
        hint: 'Leave --via out. Nothing was changed.',
      })
    }
    return {
      found: `CRI-O ${version ?? '(version unknown)'}`,
      edits: [registriesEdit('cri-o', entries, settings)],
      notes: [...narrowerNotes(entries, settings.registries), INSECURE_MIRROR_NOTE],
      restart: ['systemctl reload crio   (nothing stops)'],
      commands: [],
    }
  },
}
