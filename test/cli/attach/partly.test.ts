import { chmodSync, rmSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { DOCKER_28, DOCKER_UNIT, MachineTree } from './machine-tree.ts'

const CONFIG = '/etc/docker/daemon.json'
const DROP_IN = '/etc/systemd/system/docker.service.d/zz-shoal.conf'

describe('detach that fails on the way', () => {
  it('says what was taken back and what was not, and goes on from there', async () => {
    using tree = new MachineTree({ ...DOCKER_UNIT, [CONFIG]: '{}\n' })
    const before = tree.picture()
    await tree.attach('docker', { answers: DOCKER_28, liveRestore: true })
    const attached = tree.read(CONFIG)
    // Nothing can be renamed over a folder.
    const onStep = (step: string) => {
      if (!step.endsWith('shoal.crt')) return
      rmSync(tree.real(CONFIG))
      tree.write({ [`${CONFIG}/in-the-way`]: '' })
    }
    await expect(tree.detach('docker', { onStep })).rejects.toMatchObject({
      code: 'ATTACH_FILE',
      message: expect.stringMatching(/daemon\.json cannot be taken back: /),
      hint: expect.stringMatching(/Taken back so far: 1 of 3 files\. Still as attached: .*daemon\.json/),
    })
    rmSync(tree.real(CONFIG), { recursive: true })
    writeFileSync(tree.real(CONFIG), attached)
    chmodSync(tree.real(CONFIG), 0o644)
    await tree.detach('docker')
    const { [CONFIG.slice(1)]: config, ...others } = tree.picture()
    const { [CONFIG.slice(1)]: configBefore, ...othersBefore } = before
    expect(others).toEqual(othersBefore)
    expect(config).toMatchObject({ text: (configBefore as { text: string }).text })
    expect(others[DROP_IN.slice(1)]).toBeUndefined()
  })

  it('while it takes back what attach could not do, has both reasons', async () => {
    using tree = new MachineTree({ ...DOCKER_UNIT, [CONFIG]: '{}\n' })
    const check = async () => {
      rmSync(tree.real(CONFIG))
      tree.write({ [`${CONFIG}/in-the-way`]: '' })
      return { failure: 'it answered 503', isShared: false, isWithoutLogin: false }
    }
    await expect(
      tree.attach('docker', { answers: DOCKER_28, liveRestore: true, check }),
    ).rejects.toMatchObject({
      code: 'ATTACH_FILE',
      message: expect.stringMatching(/it answered 503; then .*daemon\.json is not a file/),
    })
  })
})
