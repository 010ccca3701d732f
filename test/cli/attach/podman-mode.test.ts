import { chmodSync, statSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { MachineTree } from './machine-tree.ts'

const OWN = '/etc/containers/containers.conf.d/zz-shoal.conf'
const MAIN = '/etc/containers/containers.conf'
const MORE = '/etc/containers/containers.conf.d/10-site.conf'
const answers = { 'podman --version': 'podman version 5.4.2' }

/** Attaches Podman with these files. @returns the mode of the file that repeats their values, and what was said */
async function attached(files: Record<string, [text: string, mode: number]>) {
  using tree = new MachineTree(
    Object.fromEntries(Object.entries(files).map(([path, [text]]) => [path, text])),
  )
  for (const [path, [, mode]] of Object.entries(files)) chmodSync(tree.real(path), mode)
  await tree.attach('podman', { answers })
  return { mode: statSync(tree.real(OWN)).mode & 0o777, said: tree.printed.join().replaceAll(/\s+/g, ' ') }
}

const ENGINE = '[engine]\nenv = ["TOKEN=secret"]\n'
const CONTAINERS = '[containers]\nenv = ["A=b"]\n'

describe('the file that repeats values of others', () => {
  it('is for root alone where one of them is, and this is said', async () => {
    const { mode, said } = await attached({ [MAIN]: [ENGINE, 0o600], [MORE]: [CONTAINERS, 0o644] })
    expect(mode).toBe(0o600)
    expect(said).toContain(`Not every user can read ${MAIN}`)
  })

  it('has the strictest of several modes', async () => {
    const { mode } = await attached({ [MAIN]: [ENGINE, 0o640], [MORE]: [CONTAINERS, 0o604] })
    expect(mode).toBe(0o600)
  })

  it('is for everybody where they are, and where a closed one has no part in it', async () => {
    const { mode, said } = await attached({
      [MAIN]: ['[engine]\nlock_type = "file"\n', 0o600],
      [MORE]: [ENGINE, 0o644],
    })
    expect(mode).toBe(0o644)
    expect(said).not.toContain('Not every user')
  })
})
