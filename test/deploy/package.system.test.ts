import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type FirstPull, firstPull } from '../../lab/guests/first-pull.ts'
import { differenceOf, pictureOf } from '../../lab/guests/picture.ts'
import { openSite, SITE_PARTS, type Site } from '../../lab/guests/site.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'

/** The short form of package-story.full.test.ts: whole machines, from nothing to a shared pull, and back to nothing. */

/** Debian itself may have to be fetched. */
const SETUP_MS_MAX = 8 * 60_000
const STORY_MS_MAX = 4 * 60_000

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
    'a purge leaves each file as it was before',
    async () => {
      const one = site.machines[0]!
      await one.guest.run('apt-get purge --yes shoal')
      await one.guest.powerOff()
      expect(before.length).toBeGreaterThan(5000)
      expect(differenceOf(before, pictureOf(one.root))).toEqual({ added: [], gone: [] })
    },
    STORY_MS_MAX,
  )
})
