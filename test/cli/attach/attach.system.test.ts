import { copyFileSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { PUBLIC_AUTHORITY } from '../../../core/consent.ts'
import { requirementsFor } from '../../../lab/cluster.ts'
import type { Lab } from '../../../lab/lab.ts'
import { remainsOf } from '../../../lab/machine/leftovers.ts'
import { mustSkipFor } from '../../../lab/machine/requirements.ts'
import { startDocker } from '../../../lab/pullers/docker.ts'
import { authFile } from '../../../lab/pullers/puller.ts'
import { LabMachine, sharingWith, startAttachLab } from './lab-machine.ts'

describe.skipIf(mustSkipFor(requirementsFor(['docker', 'podman', 'skopeo'])))(
  'shoal attach, with real runtimes',
  () => {
    let lab: Lab
    beforeAll(async () => {
      lab = await startAttachLab()
    })
    afterAll(async () => {
      await lab?.close()
      if (lab) expect(remainsOf(lab.run.id)).toEqual([])
    })

    const stateOf = ({ host }: LabMachine) =>
      readdirSync(host.varLib).filter((name) => name.startsWith('shoal-'))
    const UNIT = '[Service]\nExecStart=/usr/sbin/dockerd -H fd://\n'

    test('dockerd pulls from peers once attached, and all files are as before once detached', async () => {
      const machine = new LabMachine(lab, 'docker')
      const daemonConfig = { 'max-concurrent-downloads': 3 }
      writeFileSync(join(machine.host.etcDocker, 'daemon.json'), JSON.stringify(daemonConfig))
      machine.write('units', 'docker.service', UNIT)
      const before = machine.picture()
      const text = await machine.attach('docker')
      expect(text).toContain(`${lab.registry.host}  answers through the proxy\n`)
      expect(await machine.attach('docker')).toContain('nothing to do')
      const link = join(machine.host.etcDocker, 'certs.d', lab.registry.host, 'shoal.crt')
      expect(readlinkSync(link)).toBe(PUBLIC_AUTHORITY)

      const dropIn = readFileSync(join(machine.folder('dropIns'), 'docker.service.d/zz-shoal.conf'), 'utf8')
      const set = [...dropIn.matchAll(/^Environment="(\w+)=(.*)"$/gm)].map(([, name, value]) => [
        name!,
        value!,
      ])
      const docker = await startDocker({
        ...machine.clientOptions,
        daemonConfig,
        env: Object.fromEntries(set),
      })
      // A node that starts again has another authority, in the same place.
      const shoal = lab.node('b').shoal!
      shoal.process.kill('SIGKILL')
      await shoal.process.ended
      await shoal.start()
      const sharing = await sharingWith(lab, 'docker', (image) => docker.pull(image))
      expect(sharing.registryCopies).toBeLessThanOrEqual(1.05)
      expect(sharing.peerShare).toBeGreaterThanOrEqual(0.95)

      await machine.detach('docker')
      const after = machine.picture()
      // Written by the node that started again, in the place of the one of before.
      expect(Object.keys(after)).toEqual(Object.keys(before))
      expect(stateOf(machine)).toEqual([])
      expect(readdirSync(machine.folder('dropIns'))).toEqual([])
      expect(readdirSync(join(machine.host.etcDocker, 'certs.d', lab.registry.host))).toContain('lab.crt')
    })

    test('podman pulls from peers once attached, and its files are as before once detached', async () => {
      const machine = new LabMachine(lab, 'podman')
      const conf = '[engine]\nlock_type = "file"\nevents_logger = "none"\n'
      machine.write('containers', 'containers.conf', conf)
      copyFileSync('/etc/containers/policy.json', join(machine.folder('containers'), 'policy.json'))
      const before = machine.picture()
      expect(await machine.attach('podman')).toContain(`${lab.registry.host}  answers through the proxy\n`)
      const place = (name: string) => join(machine.host.dir, 'pod', name)
      const store = ['--root', place('root'), '--runroot', place('runroot'), '--tmpdir', place('tmp')]
      const login = ['--authfile', join(machine.home, '.docker/config.json')]
      const pull = (name: string) =>
        machine.run([
          ...['podman', ...store, '--storage-driver', 'vfs', '--cgroup-manager', 'cgroupfs'],
          ...['pull', '--quiet', ...login, name],
        ])
      const sharing = await sharingWith(lab, 'podman', ({ name }) => pull(name))
      expect(sharing.registryCopies).toBeLessThanOrEqual(1.05)
      expect(sharing.peerShare).toBeGreaterThanOrEqual(0.95)
      await machine.detach('podman')
      expect(machine.picture()).toEqual(before)
    })

    test('a registry that refuses the login is said in one line, and nothing stays', async () => {
      const machine = new LabMachine(lab, 'refused')
      const account = { user: 'nobody', password: 'wrong' }
      const login = authFile({ registryHost: lab.registry.host, account })
      writeFileSync(join(machine.home, '.docker/config.json'), login)
      machine.write('units', 'docker.service', UNIT)
      await expect(machine.attach('docker')).rejects.toThrow(
        /cannot be reached through the proxy: its token server answered 401/,
      )
      expect(readdirSync(machine.folder('dropIns'))).toEqual([])
      expect(stateOf(machine)).toEqual([])
    })
  },
)
