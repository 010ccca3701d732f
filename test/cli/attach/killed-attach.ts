import { attach, detach } from '../../../cli/attach/attach.ts'
import type { RuntimeName } from '../../../cli/attach/journal.ts'
import { RUNTIME_KINDS } from '../../../cli/attach/runtimes/runtimes.ts'
import { parseRegistryHost } from '../../../core/repository.ts'

/** Attaches or detaches a runtime of a tree, and is killed at a step. Arguments: root, verb, runtime, step, version line. */
const [root = '', verb = '', runtime = '', step = '', version = ''] = process.argv.slice(2)
let steps = 0
const machine = {
  root,
  isLive: true,
  isRoot: true,
  hostname: 'host-a',
  run: async (argv: string[]) => (argv[1] === '--version' ? version : undefined),
  refusal: async () => undefined,
  check: async () => ({ isShared: true, isWithoutLogin: false }),
  print: () => undefined,
  onStep: () => {
    if (++steps === Number(step)) process.kill(process.pid, 'SIGKILL')
  },
}
const kind = RUNTIME_KINDS[runtime as RuntimeName]
if (verb === 'attach') {
  await attach(machine, kind, {
    registries: [parseRegistryHost('registry.example.com')],
    proxyUrl: 'http://127.0.0.1:7070',
    mirrorUrl: 'http://127.0.0.1:577',
    mirrorsOf: {},
    authorityFile: '/var/lib/shoal/proxy-ca.crt',
    via: kind.via,
    liveRestore: false,
    isDryRun: false,
    isYes: true,
    isSystemTrusted: false,
    isRestarting: false,
  })
} else {
  await detach(machine, runtime as RuntimeName, { isYes: true, isDryRun: false })
}
