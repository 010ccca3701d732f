import { mkdirSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { mustSkipFor } from '../../../lab/machine/requirements.ts'
import { AUTHORITY, DOCKER_28, MachineTree } from './machine-tree.ts'

/** A node of another user than root is refused this, and whoever runs the test owns the tree. */
const isOthers = mustSkipFor(['root'])

/** As mkcert knows them: Fedora, Debian, Arch, openSUSE. */
const LAYOUTS = [
  ['/etc/pki/ca-trust/source/anchors', 'shoal.pem', 'update-ca-trust extract'],
  ['/usr/local/share/ca-certificates', 'shoal.crt', 'update-ca-certificates --fresh'],
  ['/etc/ca-certificates/trust-source/anchors', 'shoal.crt', 'trust extract-compat'],
  ['/usr/share/pki/trust/anchors', 'shoal.pem', 'update-ca-certificates'],
] as const

describe('--system-trust', () => {
  it.skipIf(isOthers).each(LAYOUTS)(
    'with %s: a link there, then the update; both taken back',
    async (folder, file, update) => {
      using tree = new MachineTree()
      mkdirSync(tree.real(folder), { recursive: true })
      const before = tree.picture()
      const ran: string[] = []
      const machine = tree.machine({ answers: { ...DOCKER_28, [update]: '' } })
      const run = async (argv: string[]) => {
        ran.push(argv.join(' '))
        return machine.run(argv)
      }
      await tree.attach('docker', { run, answers: { ...DOCKER_28, [update]: '' }, isSystemTrusted: true })
      expect(tree.picture()[`${folder}/${file}`.slice(1)]).toMatchObject({ link: AUTHORITY })
      expect(tree.printed[0]).toContain('every program of this machine')
      expect(ran.at(-1)).toBe(update)
      await tree.detach('docker', { run })
      expect(ran.filter((line) => line === update)).toHaveLength(2)
      expect(tree.picture()).toEqual(before)
    },
  )

  it('of a system that keeps its authorities elsewhere is refused, and nothing is changed', async () => {
    using tree = new MachineTree()
    const before = tree.picture()
    await expect(tree.attach('docker', { answers: DOCKER_28, isSystemTrusted: true })).rejects.toMatchObject({
      code: 'ATTACH_UNSUPPORTED',
    })
    expect(tree.picture()).toEqual(before)
  })

  it.skipIf(isOthers)('whose update fails takes all back, and runs the update again', async () => {
    using tree = new MachineTree()
    mkdirSync(tree.real('/usr/local/share/ca-certificates'), { recursive: true })
    const before = tree.picture()
    await expect(tree.attach('docker', { answers: DOCKER_28, isSystemTrusted: true })).rejects.toMatchObject({
      code: 'ATTACH_CHECK',
      message: 'update-ca-certificates --fresh failed',
    })
    expect(tree.picture()).toEqual(before)
  })
})
