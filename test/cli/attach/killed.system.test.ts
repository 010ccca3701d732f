import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import type { RuntimeName } from '../../../cli/attach/journal.ts'
import { MachineTree, ODD_JSON, SITE_HOSTS } from './machine-tree.ts'

const KILLED = fileURLToPath(new URL('killed-attach.ts', import.meta.url))
/** More than any attachment here has. */
const STEPS_MAX = 40

const STARTS: [RuntimeName, string, Record<string, string>][] = [
  ['docker', 'Docker version 28.5.2', { '/etc/docker/daemon.json': ODD_JSON }],
  [
    'containerd',
    'containerd x v2.1.9 y',
    {
      '/etc/containerd/config.toml': 'version = 3\n',
      '/etc/containerd/certs.d/registry.example.com/hosts.toml': SITE_HOSTS,
    },
  ],
]

describe('kill -9', () => {
  it.each(STARTS)(
    '%s, at every step of attach and of detach, leaves what the next command takes back',
    async (runtime, version, files) => {
      for (const verb of ['attach', 'detach']) {
        let step = 1
        for (; step <= STEPS_MAX; step++) {
          using tree = new MachineTree(files)
          const before = tree.picture()
          const answers = {
            [version.split(' ')[0] === 'Docker' ? 'dockerd --version' : 'containerd --version']: version,
          }
          if (verb === 'detach') await tree.attach(runtime, { answers })
          const argv = [KILLED, tree.root, verb, runtime, String(step), version]
          const { signal, status, stderr } = spawnSync(process.execPath, argv, {
            encoding: 'utf8',
            timeout: 20_000,
          })
          expect(status ?? signal, stderr).toBe(signal === null ? 0 : 'SIGKILL')
          await tree.detach(runtime)
          expect(tree.picture(), `${verb}, step ${step}`).toEqual(before)
          if (signal === null) break
        }
        expect(step).toBeGreaterThan(4)
        expect(step).toBeLessThan(STEPS_MAX)
      }
    },
    120_000,
  )
})
