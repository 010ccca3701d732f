import { chmodSync, chownSync, linkSync, lstatSync, rmSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { CONSENT_FILE } from '../../../core/attached-files.ts'
import { PUBLIC_AUTHORITY } from '../../../core/consent.ts'
import { mustSkipFor } from '../../../lab/machine/requirements.ts'
import { AUTHORITY, DOCKER_28, DOCKER_UNIT, MachineTree, PEM } from './machine-tree.ts'

const TRUST = 'etc/docker/certs.d/registry.example.com/shoal.crt'
const PODMAN = { 'podman --version': 'podman version 5.4.2' }
const answers = { ...DOCKER_28, ...PODMAN }
/** A user that no file of the test belongs to otherwise. */
const NODE_USER = 4242

/** The data folder is the node's alone, as the node makes it. */
function closedTree(): MachineTree {
  const tree = new MachineTree(DOCKER_UNIT)
  chmodSync(tree.real('/var/lib/shoal'), 0o700)
  return tree
}

describe('an authority in a folder that only the node can read', () => {
  it('is copied to where every user can read it, and the trust files lead there', async () => {
    using tree = closedTree()
    const before = tree.picture()
    await tree.attach('docker', { answers })
    expect(tree.picture()[TRUST]).toMatchObject({ link: PUBLIC_AUTHORITY })
    expect(tree.read(PUBLIC_AUTHORITY)).toBe(PEM)
    expect(lstatSync(tree.real('/var/lib/shoal-authority')).mode & 0o777).toBe(0o755)
    expect(lstatSync(tree.real(PUBLIC_AUTHORITY)).mode & 0o777).toBe(0o644)
    const consent = JSON.parse(tree.read(`/var/lib/shoal-attach/${CONSENT_FILE}`))
    expect(consent.authorityFile).toBe(PUBLIC_AUTHORITY)
    expect(tree.printed[0]).toContain(`+ ${PUBLIC_AUTHORITY}\n`)
    await tree.detach('docker')
    expect(tree.picture()).toEqual(before)
  })

  it('is never missing while a trust file leads there, and goes with what the node wrote since', async () => {
    using tree = closedTree()
    const before = tree.picture()
    const dangling: string[] = []
    const onStep = (step: string) => {
      const isThere = (path: string) => lstatSync(tree.real(path), { throwIfNoEntry: false }) !== undefined
      if (isThere(TRUST) && !isThere(PUBLIC_AUTHORITY)) dangling.push(step)
    }
    await tree.attach('docker', { answers, onStep })
    await tree.attach('podman', { answers, onStep })
    tree.write({ [PUBLIC_AUTHORITY]: `${PEM}${PEM}`, [`${PUBLIC_AUTHORITY}.77.new`]: 'half' })
    expect(await tree.attach('docker', { answers, onStep })).toContain('nothing to do')
    await tree.detach('docker', { onStep })
    expect(tree.read(PUBLIC_AUTHORITY)).toBe(`${PEM}${PEM}`)
    await tree.detach('podman', { onStep })
    expect(dangling).toEqual([])
    expect(tree.picture()).toEqual(before)
  })

  it('may be empty until the node has a registry, but must be there', async () => {
    using tree = closedTree()
    tree.write({ [AUTHORITY]: '\n' })
    await tree.attach('docker', { answers })
    expect(tree.read(PUBLIC_AUTHORITY)).toBe('')
    await tree.detach('docker')
    rmSync(tree.real(AUTHORITY))
    await expect(tree.attach('docker', { answers })).rejects.toMatchObject({ code: 'ATTACH_FILE' })
  })

  it('comes back when somebody removed the copy', async () => {
    using tree = closedTree()
    await tree.attach('docker', { answers })
    rmSync(tree.real(PUBLIC_AUTHORITY))
    await tree.attach('docker', { answers })
    expect(tree.read(PUBLIC_AUTHORITY)).toBe(PEM)
  })

  it('leaves a folder that was there before', async () => {
    using tree = closedTree()
    tree.write({ '/var/lib/shoal-authority/kept': '' })
    const before = tree.picture()
    await tree.attach('docker', { answers })
    await tree.detach('docker')
    expect(tree.picture()).toEqual(before)
  })

  it.skipIf(mustSkipFor(['root']))('is for the user who runs the node to replace', async () => {
    using tree = closedTree()
    for (const path of ['/var/lib/shoal', AUTHORITY]) chownSync(tree.real(path), NODE_USER, NODE_USER)
    const corp = '/etc/systemd/system/docker.service.d/http-proxy.conf'
    tree.write({ [corp]: '[Service]\nEnvironment="HTTPS_PROXY=http://u:secret@corp:3128"\n' })
    const before = tree.picture()
    await tree.attach('docker', { answers })
    expect(lstatSync(tree.real('/var/lib/shoal-authority')).uid).toBe(NODE_USER)
    const secret = lstatSync(tree.real('/var/lib/shoal-attach/upstream-proxy'))
    expect({ uid: secret.uid, mode: secret.mode & 0o777 }).toEqual({ uid: NODE_USER, mode: 0o600 })
    expect(await tree.attach('docker', { answers })).toContain('nothing to do')
    await tree.attach('podman', { answers })
    await tree.detach('docker')
    await tree.detach('podman')
    expect(tree.picture()).toEqual(before)
  })

  it('is copied as certificates alone, whatever its name leads to', async () => {
    using tree = closedTree()
    tree.write({ '/etc/shadow': 'root:$y$secret\n' })
    rmSync(tree.real(AUTHORITY))
    linkSync(tree.real('/etc/shadow'), tree.real(AUTHORITY))
    const before = tree.picture()
    await expect(tree.attach('docker', { answers })).rejects.toMatchObject({
      code: 'ATTACH_FILE',
      message: `the node's authority is not there: ${AUTHORITY}`,
    })
    expect(tree.picture()).toEqual(before)
  })
})
