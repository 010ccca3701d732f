import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { firstPull, peerShareOf, pull, sentWhile, verify } from '../../lab/guests/first-pull.ts'
import { differenceOf, pictureOf } from '../../lab/guests/picture.ts'
import { nextPackage } from '../../lab/guests/shoal-package.ts'
import { type Machine, openSite, SITE_PARTS, type Site } from '../../lab/guests/site.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'

/** What happens to a package on whole machines over the years, in minutes: each step leaves a machine that pulls. */

/** Debian itself may have to be fetched. */
const SETUP_MS_MAX = 10 * 60_000
const STEP_MS_MAX = 5 * 60_000
const LAYERS = [10_000_000, 20_000_000]
const SERVES = `shoal guard status | grep '"node":"serving"'`
/** Not only joined: while the tracker does not answer, pulls go to the registry, as they should. */
const CONNECTED = `shoal status --json | grep -q '"state": *"connected"'`
/** A pull takes long enough for an upgrade in the middle of it. */
const SLOW_BITS_PER_SECOND = 16_000_000
const SLOW_LAYERS = [12_000_000, 12_000_000]
const FAST_BITS_PER_SECOND = 1_000_000_000

describe.skipIf(mustSkipFor(SITE_PARTS))('on whole machines, in this order', () => {
  let site: Site
  let one: Machine
  let two: Machine
  let images = 0
  const before = new Map<string, string[]>()
  beforeAll(async () => {
    site = await openSite(['one', 'two'])
    ;[one, two] = site.machines as [Machine, Machine]
    for (const machine of [one, two, site.tracker]) {
      await machine.guest.powerOff()
      before.set(machine.name, pictureOf(machine.root))
      await site.start(machine)
    }
  }, SETUP_MS_MAX)
  afterAll(async () => site?.close(), STEP_MS_MAX)

  const step = (name: string, run: () => Promise<void>) => it(name, run, STEP_MS_MAX)
  const publish = (layers = LAYERS) => site.publish(`v${images++}`, layers)
  const ready = async (machine: Machine) => {
    await machine.guest.until(SERVES)
    await machine.guest.until(CONNECTED)
  }
  /** A new image, pulled on one machine, then on the other. */
  const sharedPull = async () => {
    await Promise.all([one, two].map(ready))
    const image = await publish()
    await pull(one, image)
    const bytes = await pull(two, image)
    expect(peerShareOf(bytes)).toBeGreaterThanOrEqual(0.95)
  }

  step('two commands on each make a tracker, nodes, and a pull that is shared', async () => {
    const found = await firstPull(site)
    console.log(`first pull: ${JSON.stringify(found)}`)
    expect(found.peerShare).toBeGreaterThanOrEqual(0.95)
    expect(found.commandsPerMachine).toBeLessThanOrEqual(2)
    expect(found.commandsTracker).toBeLessThanOrEqual(2)
  })

  step('containerd shares through the mirror that root holds for the node', async () => {
    const { host, puller } = site.registry
    const image = await publish()
    await pull(one, image)
    await two.guest.run(`shoal attach containerd --registry ${host} --restart --yes`)
    await ready(two)
    const account = `${puller.user}:${puller.password}`
    const ctr = `ctr image pull --hosts-dir /etc/containerd/certs.d --user ${account} ${image.name}`
    const bytes = await sentWhile(two, () => two.guest.run(ctr))
    expect(peerShareOf(bytes)).toBeGreaterThanOrEqual(0.95)
    await two.guest.run('shoal detach containerd --yes')
  })

  step('after all machines were off, pulls are shared again', async () => {
    for (const machine of [site.tracker, one, two]) {
      await machine.guest.powerOff()
      await site.start(machine)
    }
    await sharedPull()
  })

  step('an upgrade in the middle of a pull finishes the pull and goes on sharing', async () => {
    const next = join(site.run.dir, 'next.deb')
    nextPackage(site.deb, next)
    const image = await publish(SLOW_LAYERS)
    await site.shapeRegistry(SLOW_BITS_PER_SECOND)
    const guard = () => one.guest.run('systemctl show --property=MainPID --value shoal-guard')
    const guardBefore = await guard()
    const pulling = one.guest.run(`docker pull --quiet ${image.name}`)
    let isPulling = true
    void pulling.finally(() => {
      isPulling = false
    })
    await wait(3000)
    expect(isPulling).toBe(true)
    copyFileSync(next, join(one.root, 'var/tmp/next.deb'))
    await one.guest.run('apt-get install --yes /var/tmp/next.deb')
    await pulling
    await verify(one, image)
    await site.shapeRegistry(FAST_BITS_PER_SECOND)
    expect(await one.guest.run('dpkg-query --show shoal')).toContain('+next')
    expect(await guard()).toBe(guardBefore)
    await Promise.all([one, two].map(ready))
    expect(peerShareOf(await pull(two, image))).toBeGreaterThanOrEqual(0.95)
    await sharedPull()
  })

  step('a node that cannot start costs no pull', async () => {
    await one.guest.run('cp -p /etc/shoal/node.json /run/node.json')
    await one.guest.run(`echo '{"cacheBytesMax": "much"}' > /etc/shoal/node.json && systemctl restart shoal`)
    const image = await publish()
    await one.guest.run(`docker pull --quiet ${image.name}`)
    await verify(one, image)
    await one.guest.run('systemctl stop shoal')
    const other = await publish()
    await one.guest.run(`docker pull --quiet ${other.name}`)
    await one.guest.run('cp -p /run/node.json /etc/shoal/node.json && systemctl start shoal')
    await sharedPull()
  })

  step('a pause lets pulls through, and a resume shares again', async () => {
    await two.guest.run('shoal pause')
    const image = await publish()
    await pull(one, image)
    expect((await pull(two, image)).peers).toBe(0)
    await two.guest.run('shoal resume')
    await sharedPull()
  })

  step('once detached, Docker pulls without Shoal', async () => {
    await two.guest.run('shoal detach docker --yes && systemctl daemon-reload && systemctl restart docker')
    const image = await publish()
    const bytes = await pull(two, image)
    expect(Object.values(bytes).reduce((sum, part) => sum + part)).toBe(0)
  })

  step('after a purge, each file of each machine is as it was before', async () => {
    await two.guest.run('shoal leave')
    for (const machine of [one, two, site.tracker]) {
      await machine.guest.run('apt-get purge --yes shoal')
      await machine.guest.powerOff()
      const was = before.get(machine.name)!
      expect(was.length).toBeGreaterThan(5000)
      expect({ machine: machine.name, ...differenceOf(was, pictureOf(machine.root)) }).toEqual({
        machine: machine.name,
        added: [],
        gone: [],
      })
    }
  })
})
