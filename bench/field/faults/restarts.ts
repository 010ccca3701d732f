import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { Lab } from '../../../lab/lab.ts'
import type { HeldRun } from '../report.ts'
import {
  type Fault,
  type FaultOptions,
  heldRun,
  layersFor,
  marksOf,
  pull,
  pullerOf,
  pullWith,
  withLab,
} from './fault.ts'

/** What a part learns is saved within two seconds (tracker/saved-memory.ts, client/membership/node-memory.ts). */
const SAVED_AFTER_MS = 3_000
/** A part is started again while another node has the image: all of it comes from there. */
const BAR = { slackSeconds: 0.5, factor: 1, copiesMax: 0.1 }
const STALE_FOLDER = 'stale.field.test'

export const nodeRestart: Fault = {
  name: 'node-restart',
  about:
    'A node is started again: its holdings are still shared, and a client with the old authority hurts nobody.',
  measure: (options) =>
    withLab(options, {}, async (lab) => [
      await afterRestart(lab, options, 'node-restart', 'seed', {
        seed: 'node1',
        part: 'node1',
        reader: 'node2',
      }),
      await afterRestart(lab, options, 'node-restart', 'reader', {
        seed: 'node1',
        part: 'node2',
        reader: 'node2',
      }),
      await besideStaleClient(lab, options),
    ]),
}

export const trackerRestart: Fault = {
  name: 'tracker-restart',
  about: 'The tracker is started again: what nodes hold is known before the next pull asks for it.',
  measure: (options) =>
    withLab(options, {}, async (lab) => [
      await afterRestart(lab, options, 'tracker-restart', 'with-seed', {
        ...{ seed: 'node1', part: 'tracker', reader: 'node2' },
      }),
    ]),
}

async function afterRestart(
  lab: Lab,
  options: FaultOptions,
  name: string,
  variant: string,
  { seed, part, reader }: { seed: string; part: string; reader: string },
): Promise<HeldRun> {
  const image = await lab.publish(`${name}-${variant}`, layersFor(options))
  await pull(lab, seed, image, 'shoal')
  await wait(SAVED_AFTER_MS)
  const marks = marksOf(lab)
  lab.kill(part)
  await lab.revive(part)
  const shoal = [await pull(lab, reader, image, 'shoal')]
  const direct = [await pull(lab, reader, image, 'direct')]
  return heldRun(lab, { case: name, variant }, { direct, shoal, marks, bar: BAR })
}

/** A client that began before the restart trusts the old authority: it may fail, and others go on sharing. */
async function besideStaleClient(lab: Lab, options: FaultOptions): Promise<HeldRun> {
  const { host } = lab.node('node2')
  const folder = (name: string) => join(host.etcDocker, 'certs.d', name)
  cpSync(folder(lab.registry.host), folder(STALE_FOLDER), { recursive: true })
  const marks = marksOf(lab)
  lab.kill('node2')
  await lab.revive('node2')
  const [missed, image] = [
    await lab.publish('stale', layersFor(options)),
    await lab.publish('fresh', layersFor(options)),
  ]
  await pull(lab, 'node1', image, 'shoal')
  await pullWith(lab, pullerOf(lab, lab.node('node2'), 'shoal', { trustFolder: STALE_FOLDER }), missed)
  const shoal = [await pull(lab, 'node2', image, 'shoal')]
  const direct = [await pull(lab, 'node2', image, 'direct')]
  return heldRun(lab, { case: 'node-restart', variant: 'stale-client' }, { direct, shoal, marks, bar: BAR })
}
