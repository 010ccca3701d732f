import { describe, expect, it } from 'vitest'
import type { RuntimeName } from '../../../cli/attach/journal.ts'
import { parseRegistryHost } from '../../../core/repository.ts'
import { MachineTree } from './machine-tree.ts'

const CONSENT = '/var/lib/shoal-attach/consent.json'
const answers = {
  'containerd --version': 'containerd x v2.1.9 y',
  'crio --version': 'crio version 1.34.1',
  'podman --version': 'podman version 5.4.2',
  'dockerd --version': 'Docker version 28.5.2',
}
const listenersIn = (tree: MachineTree) => JSON.parse(tree.read(CONSENT)).mirrorListen as string | undefined

describe('what an attachment leaves for the node', () => {
  it.each<[RuntimeName, string | undefined]>([
    ['containerd', '127.0.0.1:577'],
    ['buildkit', '127.0.0.1:577'],
    ['cri-o', 'registry.example.com=127.0.0.1:578'],
    ['podman', undefined],
    ['docker', undefined],
  ])('of %s: the places of the mirror are %s', async (runtime, places) => {
    using tree = new MachineTree({ '/etc/buildkit/buildkitd.toml': '' })
    await tree.attach(runtime, { answers, mirrorsOf: {} })
    expect(listenersIn(tree)).toBe(places)
  })

  it('of Docker with Docker Hub has the mirror, which daemon.json names', async () => {
    using tree = new MachineTree()
    const registries = ['docker.io', 'registry.example.com'].map(parseRegistryHost)
    await tree.attach('docker', { answers, registries })
    expect(listenersIn(tree)).toBe('127.0.0.1:577')
  })

  it('gives each registry a port of its own, and two runtimes the same one', async () => {
    using tree = new MachineTree()
    const registries = ['registry.example.com', 'other.example.com:5000'].map(parseRegistryHost)
    await tree.attach('containerd', { answers, registries })
    await tree.attach('podman', { answers, registries, via: 'mirror', mirrorsOf: {} })
    await tree.attach('cri-o', { answers, registries: registries.toReversed(), mirrorsOf: {} })
    expect(listenersIn(tree)?.split(',').sort()).toEqual([
      '127.0.0.1:577',
      'other.example.com:5000=127.0.0.1:579',
      'registry.example.com=127.0.0.1:578',
    ])
    await tree.detach('containerd')
    await tree.detach('podman')
    expect(listenersIn(tree)).not.toContain('577')
    expect(listenersIn(tree)).toContain('registry.example.com=127.0.0.1:578')
  })

  it('is there while the registries are checked, and gone when the check fails', async () => {
    using tree = new MachineTree()
    const before = tree.picture()
    let seen: string | undefined
    const check = async () => {
      seen = listenersIn(tree)
      return { failure: 'it answered 503', isShared: false, isWithoutLogin: false }
    }
    await expect(tree.attach('containerd', { answers, check })).rejects.toMatchObject({
      code: 'ATTACH_CHECK',
    })
    expect(seen).toBe('127.0.0.1:577')
    expect(tree.picture()).toEqual(before)
  })
})
