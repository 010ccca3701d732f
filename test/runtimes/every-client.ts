import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { COPIES_MAX, PEER_SHARE_MIN } from '../../bench/runtimes/report.ts'
import { requirementsFor } from '../../lab/cluster.ts'
import type { Lab } from '../../lab/lab.ts'
import { remainsOf } from '../../lab/machine/leftovers.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { isSkippedFor } from '../../lab/machine/skipped.ts'
import { fetchedParts, mustSkipForParts, requireFetched } from '../../lab/parts/parts.ts'
import { SUITES, type Suite } from '../../lab/parts/suites.ts'
import { nameOf, RUNTIME_CLIENTS } from '../../lab/runtimes/clients.ts'
import { measureClient, openRuntimesLab } from '../../lab/runtimes/measure-client.ts'

/** Each client of the table once, with each configuration: two nodes cost the registry one copy. */
export function tellEveryClient(suite: Suite): void {
  const isSkipped = mustSkipForParts(suite) || mustSkipFor(requirementsFor(['skopeo']))
  describe.skipIf(isSkipped).each(['own host', 'registry'] as const)(
    'with the token server at its %s',
    (tokens) => {
      let lab: Lab
      beforeAll(async () => {
        lab = await openRuntimesLab(tokens)
      })
      afterAll(async () => {
        await lab?.close()
        if (lab) expect(remainsOf(lab.run.id)).toEqual([])
      })

      const clients = RUNTIME_CLIENTS.filter((client) => client.suite === suite && client.tokens === tokens)
      for (const [index, client] of clients.entries()) {
        test.skipIf(hasVanished(suite, client.package))(
          `${nameOf(client)}: one copy leaves the registry for two nodes`,
          async () => {
            const run = await measureClient(lab, requireFetched(suite), client, index)
            expect(run).toMatchObject({ ok: true })
            expect(run.registryCopies).toBeLessThanOrEqual(COPIES_MAX)
            expect(run.peerShare).toBeGreaterThanOrEqual(PEER_SHARE_MIN)
          },
        )
      }
    },
  )
}

/** Unstable drops versions without notice: such a client is skipped, and its wanted version printed. On CI it fails. */
function hasVanished(suite: Suite, name: string): boolean {
  const parts = fetchedParts(suite)
  if (parts === undefined || parts.versionOf(name) !== undefined) return false
  const wanted = `${name} ${SUITES[suite].pinned[name]}`
  return isSkippedFor([{ kind: `runtimes that ${suite} no longer has`, lacks: [wanted], remedy: 'none: {}' }])
}
