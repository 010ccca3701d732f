import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { COPIES_MAX } from '../../bench/runtimes/report.ts'
import { requirementsFor } from '../../lab/cluster.ts'
import type { Lab } from '../../lab/lab.ts'
import { remainsOf } from '../../lab/machine/leftovers.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { mustSkipForParts, requireFetched } from '../../lab/parts/parts.ts'
import type { Suite } from '../../lab/parts/suites.ts'
import { RUNTIME_CLIENTS, type Runtime } from '../../lab/runtimes/clients.ts'
import { LAYER_BYTES, openRuntimesLab, sharingOf } from '../../lab/runtimes/measure-client.ts'

/** Three runtimes of one node want the same image at the same moment. */
const CLIENTS = ['dockerd', 'containerd CRI', 'podman']

export function tellClientsAtOnce(suite: Suite): void {
  const isSkipped = mustSkipForParts(suite) || mustSkipFor(requirementsFor(['skopeo']))
  describe.skipIf(isSkipped)('several runtimes of one node at once', () => {
    let lab: Lab
    const runtimes: Runtime[] = []
    beforeAll(async () => {
      lab = await openRuntimesLab('own host')
      const site = { lab, node: lab.node('a'), parts: requireFetched(suite) }
      for (const [index, name] of CLIENTS.entries()) {
        const { start } = RUNTIME_CLIENTS.find(
          ({ client, ...row }) => client === name && row.suite === suite,
        )!
        runtimes.push(await start(site, `client-${index}`))
      }
    })
    afterAll(async () => {
      await lab?.close()
      if (lab) expect(remainsOf(lab.run.id)).toEqual([])
    })

    test(`${CLIENTS.join(', ')} of ${suite} take one copy from the registry together`, async () => {
      const image = await lab.publish('at-once', LAYER_BYTES)
      await Promise.all(runtimes.map((runtime) => runtime.pull(image)))
      for (const runtime of runtimes)
        expect([runtime.kind, await runtime.verify(image)]).toEqual([runtime.kind, true])
      const { registryCopies } = await sharingOf(lab, image)
      expect(registryCopies).toBeGreaterThan(0.99)
      expect(registryCopies).toBeLessThanOrEqual(COPIES_MAX)
    })
  })
}
