import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { requirementsFor } from '../../lab/cluster.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import {
  type Client,
  failedOf,
  KillStory,
  type Pulled,
  pullsOf,
  ROUND_SECONDS_MAX,
  table,
} from './kill-story.ts'

/**
 * Clients that give up where their connection is cut, with or without Shoal. Behind a node that is killed they may fail, but
 * not more often than where a direct connection is cut at the same point of the download.
 */
const KINDS = ['podman', 'skopeo'] as const
const EACH = 2
const CLIENTS = KINDS.flatMap((client) => Array<Client>(EACH).fill(client))
/** Pulls of each client through each kind of cut. */
const PULLS = Number(process.env.SHOAL_TESTS_CUTS ?? 24)
const ROUNDS = PULLS / EACH
const REGISTRY_BITS_PER_SECOND = 32_000_000
/** Chance that two equal rates look so different by accident. */
const CHANCE_MIN = 0.05

describe.skipIf(mustSkipFor(requirementsFor([...KINDS])))('clients that give up', () => {
  let story: KillStory
  beforeAll(async () => {
    story = await KillStory.start(CLIENTS, REGISTRY_BITS_PER_SECOND)
  }, 120_000)
  afterAll(async () => story?.close())

  test(
    'fail no more often when the node is killed than when a direct connection is cut',
    async () => {
      const pulls: Pulled[] = []
      for (let round = 0; round < ROUNDS; round += 1)
        for (const part of ['node', 'relay'] as const) pulls.push(...(await story.round(part)))
      console.log(table(pulls))
      for (const client of KINDS) {
        const [shared, direct] = (['node', 'relay'] as const).map((part) => pullsOf(pulls, client, part))
        const chance = chanceOfAsMany(
          { failed: failedOf(shared!).length, all: shared!.length },
          { failed: failedOf(direct!).length, all: direct!.length },
        )
        console.log(`${client}: so many more failures by accident: ${chance.toFixed(3)}`)
        expect(chance, client).toBeGreaterThan(CHANCE_MIN)
      }
    },
    2 * ROUNDS * ROUND_SECONDS_MAX * 1000,
  )
})

interface Rate {
  failed: number
  all: number
}

/** Fisher's exact test, one-sided: the chance that at least `failed` of all failures fall on the first if both rates are equal. */
function chanceOfAsMany(one: Rate, other: Rate): number {
  const failures = one.failed + other.failed
  const most = Math.min(one.all, failures)
  const counts = Array.from({ length: most - one.failed + 1 }, (_, index) => one.failed + index)
  const chanceOf = (count: number) =>
    (ways(one.all, count) * ways(other.all, failures - count)) / ways(one.all + other.all, failures)
  return counts.map(chanceOf).reduce((sum, part) => sum + part)
}

/** Ways to choose some of all. */
function ways(all: number, some: number): number {
  if (some > all) return 0
  let count = 1
  for (let index = 0; index < some; index += 1) count = (count * (all - index)) / (index + 1)
  return count
}
