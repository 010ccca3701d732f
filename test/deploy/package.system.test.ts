import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type FirstPull, firstPull, pull } from '../../lab/guests/first-pull.ts'
import { differenceOf, pictureOf } from '../../lab/guests/picture.ts'
import { openSite, SITE_PARTS, type Site } from '../../lab/guests/site.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'

/** The short form of package-story.full.test.ts: whole machines, from nothing to a shared pull, and back to nothing. */

/** Debian itself may have to be fetched. */
const SETUP_MS_MAX = 8 * 60_000
const STORY_MS_MAX = 4 * 60_000
const LAYER_BYTES = 5_000_000

describe.skipIf(mustSkipFor(SITE_PARTS))('on whole machines', () => {
  let site: Site
  let before: string[]
  let found: FirstPull
  beforeAll(async () => {
    site = await openSite(['one', 'two'])
    const one = site.machines[0]!
    await one.guest.powerOff()
    before = pictureOf(one.root)
    await site.start(one)
  }, SETUP_MS_MAX)
  afterAll(async () => site?.close(), STORY_MS_MAX)

  it(
    'two commands on each make a tracker, nodes, and a pull that is shared',
    async () => {
      found = await firstPull(site)
      expect(found.peerShare).toBeGreaterThanOrEqual(0.95)
      expect(found.commandsPerMachine).toBeLessThanOrEqual(2)
      expect(found.commandsTracker).toBeLessThanOrEqual(2)
    },
    STORY_MS_MAX,
  )

  it(
    'root and members of the group shoal ask the node, and nobody else',
    async () => {
      const { guest } = site.machines[0]!
      expect(await guest.run(`stat --format='%a %U:%G' /run/shoal/shoal.sock`)).toBe('660 shoal:shoal\n')
      // The backups stay as they were, for the comparison after the purge.
      const backups = 'group- gshadow-'
      const add = 'gpasswd --add daemon shoal'
      await guest.run(`cd /etc && cp -p ${backups} /run && ${add} && cd /run && cp -p ${backups} /etc`)
      const status = (user: string) => guest.run(`runuser -u ${user} -- shoal status`)
      expect(await status('daemon')).toContain('The node shares.')
      await expect(status('nobody')).rejects.toThrow('member of the group shoal')
    },
    STORY_MS_MAX,
  )

  it(
    'a program that rejects the node is named, and the others of its user go on sharing',
    async () => {
      const { guest } = site.machines[0]!
      const { host } = site.registry
      // A service whose program trusts the registry, and not the node.
      const reject = `systemd-run --quiet --collect --wait --unit=distrusting curl -s --proxy http://127.0.0.1:7070 https://${host}/v2/`
      // The first one is gone before it is seen.
      await guest.run(`${reject}; sleep 1; ${reject}; true`)
      const { conditions } = JSON.parse(await guest.run('shoal status --json || [ $? -eq 3 ]'))
      expect(conditions.filter(({ code }: { code: string }) => code === 'CLIENT_DISTRUSTS')).toMatchObject([
        { subject: `${host}: curl (/usr/bin/curl, unit distrusting.service, user 0)` },
      ])
      // Docker, of the same user.
      const { registry } = await pull(site.machines[0]!, await site.publish('second', [LAYER_BYTES]))
      expect(registry).toBeGreaterThan(LAYER_BYTES)
    },
    STORY_MS_MAX,
  )

  it(
    'only the node is told which program connects, and of connections to the proxy alone',
    async () => {
      const { guest } = site.machines[0]!
      /** What a user is told of a connection of his own. */
      const told = (user: string, port: number) =>
        guest.run(
          `runuser -u ${user} -- perl -MIO::Socket -e '$c = IO::Socket::INET->new("127.0.0.1:${port}") or die $!; $s = IO::Socket::UNIX->new("/run/shoal-owners.sock") or die $!; print $s "127.0.0.1 ", $c->sockport, " 127.0.0.1 ${port}\\n"; print <$s>'`,
        )
      expect(await guest.run(`stat --format='%a %U' /run/shoal-owners.sock`)).toBe('600 shoal\n')
      expect(JSON.parse(await told('shoal', 7070))).toMatchObject({ executable: '/usr/bin/perl' })
      expect(await told('shoal', 7072)).toBe('')
      // A member of the group shoal, and a stranger.
      for (const user of ['daemon', 'nobody'])
        await expect(told(user, 7070)).rejects.toThrow('Permission denied')
    },
    STORY_MS_MAX,
  )

  it(
    'a reload of either service changes the settings of the running node',
    async () => {
      const { guest } = site.machines[0]!
      const set = (value: string) => guest.run(`echo '{"cacheBytesMax": ${value}}' > /etc/shoal/node.json`)
      for (const [unit, bytes] of [
        ['shoal', 3_000_000_000],
        ['shoal-guard', 4_000_000_000],
      ] as const) {
        await set(`${bytes}`)
        await guest.run(`systemctl reload ${unit}`)
        expect(JSON.parse(await guest.run('shoal cache ls --json'))).toMatchObject({ cacheBytesMax: bytes })
      }
      await set('"much"')
      await expect(guest.run('systemctl reload shoal')).rejects.toThrow('Job for shoal.service failed')
    },
    STORY_MS_MAX,
  )

  it(
    'a purge leaves each file as it was before',
    async () => {
      const one = site.machines[0]!
      await one.guest.run('apt-get purge --yes shoal')
      const systemd = await one.guest.run('journalctl --boot --no-pager --output=cat _PID=1')
      expect(systemd).toContain('shoal-guard.service')
      expect(systemd.split('\n').filter((line) => /shoal.*ignoring/.test(line))).toEqual([])
      await one.guest.powerOff()
      expect(before.length).toBeGreaterThan(5000)
      expect(differenceOf(before, pictureOf(one.root))).toEqual({ added: [], gone: [] })
    },
    STORY_MS_MAX,
  )
})
