import { resolve } from 'node:path'
import { type Command, command } from '../../core/command.ts'
import { PUBLIC_AUTHORITY } from '../../core/consent.ts'
import { UsageError } from '../../core/errors.ts'
import { parseRegistryHost, type RegistryHost } from '../../core/repository.ts'
import { NODE_CONFIG_FILE } from '../node-config-file.ts'
import { attach, detach, detachAll, listAttachments } from './attach.ts'
import type { RuntimeName } from './journal.ts'
import { thisMachine } from './machine.ts'
import { mirrorPlaces, nodeSettings } from './node-settings.ts'
import { RUNTIME_KINDS } from './runtimes/runtimes.ts'

/** `shoal attach` and `shoal detach`: the flags and their defaults. */

const ROOT_FLAG = {
  type: 'string',
  value: 'folder',
  default: '/',
  description:
    'Works on this tree instead of the running system, for images of machines. Nothing is asked of a runtime or a registry.',
} as const
const YES_FLAG = { type: 'boolean', description: 'Asks nothing.' } as const
const DRY_RUN_FLAG = {
  type: 'boolean',
  description: 'Shows what would change, and changes nothing.',
} as const

const COMMON_FLAGS = {
  registry: {
    type: 'string',
    multiple: true,
    value: 'host',
    description: `A registry that the node may intercept from now on; can be repeated. Default: those in ${NODE_CONFIG_FILE}.`,
  },
  'dry-run': DRY_RUN_FLAG,
  yes: YES_FLAG,
  via: {
    type: 'string',
    value: 'proxy|mirror',
    description:
      'How the runtime reaches the node. Default: docker and podman by proxy, all others by mirror; podman knows both.',
  },
  proxy: {
    type: 'string',
    value: 'url',
    description: `The node's proxy. Default: proxyListen of ${NODE_CONFIG_FILE}, or http://127.0.0.1:7070.`,
  },
  mirror: {
    type: 'string',
    value: 'places',
    description: `Where the node's mirror listens from now on, written as its setting mirrorListen. Default: mirrorListen of ${NODE_CONFIG_FILE}, or 127.0.0.1:577; for a runtime that needs one address for each registry, ports from 578 on.`,
  },
  'authority-file': {
    type: 'string',
    value: 'file',
    description: `The node's authority. Default: authorityFile of ${NODE_CONFIG_FILE}, or proxy-ca.crt in the node's data folder. If only root can read it, runtimes get a copy in ${PUBLIC_AUTHORITY}, which the node keeps up to date.`,
  },
  'system-trust': {
    type: 'boolean',
    description: "Adds the authority to the system's store too, for programs that read nothing else.",
  },
  restart: {
    type: 'boolean',
    description: 'Also restarts the runtime where it must, so that the next pull goes through the node.',
  },
  root: ROOT_FLAG,
} as const

const LIVE_RESTORE_FLAG = {
  'live-restore': {
    type: 'boolean',
    description: 'Sets live-restore, so that containers keep running while Docker restarts.',
  },
} as const

export function attachCommand(name: RuntimeName): Command {
  return command({
    positionals: [],
    flags: { ...COMMON_FLAGS, ...(name === 'docker' ? LIVE_RESTORE_FLAG : {}) },
    async run(values) {
      const kind = RUNTIME_KINDS[name]
      const { via = kind.via } = values
      if (via !== 'proxy' && via !== 'mirror') throw new UsageError(`--via is proxy or mirror, not ${via}`)
      const root = resolve(values.root)
      const node = nodeSettings(root)
      return attach(thisMachine(root), kind, {
        registries: registriesOf(values.registry.length > 0 ? values.registry : node.registries),
        proxyUrl: checkedUrl('--proxy', values.proxy ?? `http://${node.proxyListen}`),
        ...mirrorPlaces(values.mirror ?? node.mirrorListen),
        authorityFile: resolve(values['authority-file'] ?? node.authorityFile),
        via,
        liveRestore: (values['live-restore'] as unknown) === true,
        isDryRun: values['dry-run'],
        isYes: values.yes,
        isSystemTrusted: values['system-trust'],
        isRestarting: values.restart,
      })
    },
  })
}

export function detachCommand(name: RuntimeName): Command {
  return command({
    positionals: [],
    flags: { 'dry-run': DRY_RUN_FLAG, yes: YES_FLAG, root: ROOT_FLAG },
    async run(values) {
      return detach(thisMachine(resolve(values.root)), name, {
        isYes: values.yes,
        isDryRun: values['dry-run'],
      })
    },
  })
}

export const detachAllCommand = command({
  positionals: [],
  flags: {
    all: { type: 'boolean', description: 'Every runtime that is attached.' },
    'dry-run': DRY_RUN_FLAG,
    yes: YES_FLAG,
    root: ROOT_FLAG,
  },
  async run({ all, root, yes, 'dry-run': isDryRun }) {
    if (!all) throw missingRuntime('detach', 'shoal detach --all')
    return detachAll(thisMachine(resolve(root)), { isYes: yes, isDryRun })
  },
})

export const listCommand = command({
  positionals: [],
  flags: {
    list: { type: 'boolean', description: 'Lists what is attached, with the files that were changed.' },
    json: { type: 'boolean', description: 'Prints the list as JSON.' },
    root: ROOT_FLAG,
  },
  async run({ list, json, root }) {
    if (!list && !json) throw missingRuntime('attach', 'shoal attach --list')
    return listAttachments(thisMachine(resolve(root)), json)
  },
})

function missingRuntime(verb: 'attach' | 'detach', other: string): UsageError {
  return new UsageError(`missing the runtime to ${verb}`, {
    hint: `Name one: shoal ${verb} docker, containerd, podman, cri-o or buildkit; or see ${other}.`,
  })
}

function registriesOf(named: string[]): RegistryHost[] {
  const hosts = named.flatMap((one) => one.split(','))
  if (hosts.length > 0) return [...new Set(hosts.map(parseRegistryHost))]
  throw new UsageError('no registry is named', {
    hint: 'Name what this machine pulls from: --registry registry.example.com.',
  })
}

function checkedUrl(flag: string, text: string): string {
  const url = URL.parse(text)
  if (url?.protocol === 'http:' && url.pathname === '/' && url.username === '') return url.origin
  throw new UsageError(`${flag}: expected http://host:port`)
}
