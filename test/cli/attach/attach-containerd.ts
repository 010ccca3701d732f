import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { COPIES_MAX, PEER_SHARE_MIN } from '../../../bench/runtimes/report.ts'
import { requirementsFor } from '../../../lab/cluster.ts'
import type { Lab } from '../../../lab/lab.ts'
import { remainsOf } from '../../../lab/machine/leftovers.ts'
import { type LabProgram, mustSkipFor } from '../../../lab/machine/requirements.ts'
import { mustSkipForParts, requireFetched } from '../../../lab/parts/parts.ts'
import type { Suite } from '../../../lab/parts/suites.ts'
import { LabMachine, sharingWith, startAttachLab } from './lab-machine.ts'

export interface ContainerdCase {
  name: string
  /** Undefined: the machine's own. */
  suite?: Suite
  /** Of config.toml. */
  format: 2 | 3
  /** What stands in the registry's folder before. */
  folder: 'certificate' | 'hosts.toml' | 'nothing'
}

/** One command attaches; the node opens its mirror for it; a pull shares; another command takes all back. */
export function tellAttachedContainerd(cases: ContainerdCase[]): void {
  const needs = [...requirementsFor(['skopeo']), ...(['containerd', 'ctr'] satisfies LabProgram[])]
  const isSkipped = mustSkipFor(needs) || cases.some(({ suite }) => suite && mustSkipForParts(suite))
  describe.skipIf(isSkipped)('shoal attach containerd', () => {
    let lab: Lab
    beforeAll(async () => {
      lab = await startAttachLab()
    })
    afterAll(async () => {
      await lab?.close()
      if (lab) expect(remainsOf(lab.run.id)).toEqual([])
    })

    test.each(cases)(
      '$name, with $folder in the folder of the registry',
      async ({ suite, format, folder }) => {
        const name = `containerd-${suite ?? 'own'}`
        const machine = new LabMachine(lab, name, suite && requireFetched(suite))
        const { host } = lab.registry
        const authority = `/etc/docker/certs.d/${host}/lab.crt`
        machine.write('containerd', 'config.toml', machine.containerdConfig(format))
        if (folder === 'hosts.toml')
          machine.write(
            'containerd',
            `certs.d/${host}/hosts.toml`,
            `server = "https://${host}"\n\n[host."https://${host}"]   # ours\n  ca = "${authority}"\n`,
          )
        if (folder === 'certificate')
          machine.write('containerd', `certs.d/${host}/site.crt`, await machine.run(['cat', authority]))
        const before = machine.picture()
        const text = await machine.attach('containerd')
        expect(text).toContain(`${host}  answers through the mirror\n`)
        expect(await machine.attach('containerd')).toContain('nothing to do')

        const containerd = await machine.startContainerd(name)
        const sharing = await sharingWith(lab, name, containerd.pull)
        expect(sharing.registryCopies).toBeLessThanOrEqual(COPIES_MAX)
        expect(sharing.peerShare).toBeGreaterThanOrEqual(PEER_SHARE_MIN)

        await machine.detach('containerd')
        expect(machine.picture()).toEqual(before)
        const image = await lab.publish(`${name}-detached`, [300_000])
        await containerd.pull(image)
        await containerd.stop()
      },
    )
  })
}
