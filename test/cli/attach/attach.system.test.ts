import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { requirementsFor, startLab } from '../../../lab/cluster.ts'
import type { Lab } from '../../../lab/lab.ts'
import { labCgroup, remainsOf } from '../../../lab/machine/leftovers.ts'
import { mustSkipFor } from '../../../lab/machine/requirements.ts'
import { startDocker } from '../../../lab/pullers/docker.ts'
import { authFile, type ImageReference } from '../../../lab/pullers/puller.ts'

const SHOAL = fileURLToPath(new URL('../../../bin/shoal.js', import.meta.url))
const PATIENCE_MS = 60_000
/** Folders of the system that a host gets for itself, so that nothing is written into the machine's own. */
const OWN_FOLDERS = {
  units: '/usr/lib/systemd/system',
  dropIns: '/etc/systemd/system',
  containers: '/etc/containers',
  state: '/var/lib',
}
const BIND = 'while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done; shift; exec "$@"'

describe.skipIf(mustSkipFor(requirementsFor(['docker', 'podman', 'skopeo'])))(
  'shoal attach, with real runtimes',
  () => {
    let lab: Lab
    beforeAll(async () => {
      lab = await startLab({
        nodes: ['a', 'b'].map((name) => ({ name, puller: 'skopeo' as const })),
        layerDataBytes: [3_000_000],
      })
    })
    afterAll(async () => {
      await lab?.close()
      if (lab) expect(remainsOf(lab.run.id)).toEqual([])
    })

    /** A host of the lab with system folders and a home of its own. */
    function system() {
      const { host } = lab.node('b')
      const dirs = Object.entries(OWN_FOLDERS).map(([name, path]) => [join(host.dir, name), path] as const)
      for (const [dir] of dirs) mkdirSync(dir, { recursive: true })
      const { registry, run } = lab
      // Attach wants an authority that every user can read.
      const authority = join(host.dir, 'shoal/data/proxy-ca.crt')
      for (let dir = dirname(authority); dir.startsWith(lab.run.dir); dir = dirname(dir))
        chmodSync(dir, 0o711)
      const home = join(host.dir, 'home')
      mkdirSync(join(home, '.docker'), { recursive: true })
      const accounts = { registryHost: registry.host, account: registry.puller }
      writeFileSync(join(home, '.docker/config.json'), authFile(accounts), { mode: 0o600 })
      const command = (argv: string[]) =>
        run.processes.run({
          argv: host.command(['sh', '-c', BIND, 'sh', ...dirs.flat(), '--', ...argv]),
          env: { HOME: home },
          timeoutMs: PATIENCE_MS,
        })
      const shoal = (...argv: string[]) => command([process.execPath, SHOAL, ...argv])
      const attach = (runtime: string) =>
        shoal(
          ...['attach', runtime, '--registry', registry.host, '--yes'],
          ...['--authority-file', authority],
        )
      return {
        host,
        dir: (name: keyof typeof OWN_FOLDERS) => join(host.dir, name),
        command,
        shoal,
        attach,
        home,
      }
    }

    const bytesOf = ({ layers }: ImageReference) => layers.reduce((sum, { bytes }) => sum + bytes, 0)
    const egressOf = ({ layers }: ImageReference) =>
      layers.reduce((sum, { digest }) => sum + (lab.registry.egress().get(digest)?.bytes ?? 0), 0)

    test('dockerd pulls from peers once attached, and all files are as before once detached', async () => {
      const { host, dir, attach, shoal } = system()
      const daemonConfig = { 'max-concurrent-downloads': 3 }
      const configFile = join(host.etcDocker, 'daemon.json')
      writeFileSync(configFile, JSON.stringify(daemonConfig))
      writeFileSync(join(dir('units'), 'docker.service'), '[Service]\nExecStart=/usr/sbin/dockerd -H fd://\n')
      const before = [
        readFileSync(configFile, 'utf8'),
        readdirSync(dir('dropIns')),
        readdirSync(dir('state')),
      ]
      const text = await attach('docker')
      expect(text).toContain(`${lab.registry.host}  answers through the proxy\n`)
      expect(await attach('docker')).toContain('nothing to do')

      const dropIn = readFileSync(join(dir('dropIns'), 'docker.service.d/zz-shoal.conf'), 'utf8')
      const set = [...dropIn.matchAll(/^Environment="(\w+)=(.*)"$/gm)].map(([, name, value]) => [
        name!,
        value!,
      ])
      const { registry, run } = lab
      const docker = await startDocker({
        ...{ host, processes: run.processes, registryHost: registry.host, account: registry.puller },
        ...{ proxyUrl: undefined, cgroupParent: labCgroup(run.id), daemonConfig },
        env: Object.fromEntries(set),
      })
      await lab.pull('a')
      await docker.pull(lab.image)
      expect(await docker.verify(lab.image)).toBe(true)
      expect(egressOf(lab.image) / bytesOf(lab.image)).toBeLessThanOrEqual(1.05)

      await shoal('detach', 'docker', '--yes')
      expect([
        readFileSync(configFile, 'utf8'),
        readdirSync(dir('dropIns')),
        readdirSync(dir('state')),
      ]).toEqual(before)
      expect(readdirSync(join(host.etcDocker, 'certs.d', registry.host))).toContain('lab.crt')
    })

    test('podman pulls from peers once attached, and its files are as before once detached', async () => {
      const { host, dir, attach, shoal, command, home } = system()
      copyFileSync('/etc/containers/policy.json', join(dir('containers'), 'policy.json'))
      writeFileSync(
        join(dir('containers'), 'containers.conf'),
        '[engine]\nlock_type = "file"\nevents_logger = "none"\n',
      )
      const before = readdirSync(dir('containers'))
      expect(await attach('podman')).toContain(`${lab.registry.host}  answers through the proxy\n`)
      const image = await lab.publish('podman', [3_000_000])
      await lab.node('a').puller.pull(image)
      const places = ['root', 'runroot', 'tmp'].map((name) => join(host.dir, 'pod', name))
      await command([
        ...[
          'podman',
          '--root',
          places[0]!,
          '--runroot',
          places[1]!,
          '--tmpdir',
          places[2]!,
          '--storage-driver',
          'vfs',
        ],
        ...[
          '--cgroup-manager',
          'cgroupfs',
          'pull',
          '--quiet',
          '--authfile',
          join(home, '.docker/config.json'),
          image.name,
        ],
      ])
      expect(egressOf(image) / bytesOf(image)).toBeLessThanOrEqual(1.05)
      await shoal('detach', 'podman', '--yes')
      expect(readdirSync(dir('containers'))).toEqual(before)
      expect(existsSync(join(dir('state'), 'shoal-attach'))).toBe(false)
    })

    test('a registry that refuses the login is said in one line, and nothing stays', async () => {
      const { dir, attach, home } = system()
      const account = { user: 'nobody', password: 'wrong' }
      writeFileSync(join(home, '.docker/config.json'), authFile({ registryHost: lab.registry.host, account }))
      writeFileSync(join(dir('units'), 'docker.service'), '[Service]\nExecStart=/usr/sbin/dockerd -H fd://\n')
      await expect(attach('docker')).rejects.toThrow(
        /cannot be reached through the proxy: its token server answered 401/,
      )
      expect(readdirSync(dir('dropIns'))).toEqual([])
      expect(existsSync(join(dir('state'), 'shoal-attach'))).toBe(false)
    })
  },
)
