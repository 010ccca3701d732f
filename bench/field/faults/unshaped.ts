import type { Lab } from '../../../lab/lab.ts'
import type { HeldRun } from '../report.ts'
import {
  type Fault,
  type FaultOptions,
  heldRun,
  layersFor,
  marksOf,
  type Pulled,
  pull,
  withLab,
} from './fault.ts'

/** Links without a bound, all on this machine: what Shoal itself costs. */
const PAIRS = 7
const COLD = { slackSeconds: 0, factor: 1.3, copiesMax: undefined }
const PEER = { slackSeconds: 0, factor: 1.15, copiesMax: undefined }
const CACHE = { slackSeconds: 0, factor: 1, copiesMax: undefined }
const PASSWORDS = { slackSeconds: 0, factor: 1.5, copiesMax: undefined }

export const unshaped: Fault = {
  name: 'unshaped',
  about: 'Three layers of 25 MB on links without a bound: cold alone, from a peer, from the own cache.',
  measure: (options) =>
    withLab(options, {}, async (lab) => {
      const marks = marksOf(lab)
      const direct: Pulled[] = []
      const [cold, peer, cache]: Pulled[][] = [[], [], []]
      for (let pair = 0; pair < (options.pairs ?? PAIRS); pair++) {
        const image = await lab.publish(`unshaped${pair}`, layersFor(options))
        direct.push(await pull(lab, 'node1', image, 'direct'))
        cold!.push(await pull(lab, 'node1', image, 'shoal'))
        peer!.push(await pull(lab, 'node2', image, 'shoal'))
        cache!.push(await pull(lab, 'node2', image, 'shoal'))
      }
      const line = (variant: string, shoal: Pulled[], bar: typeof COLD) =>
        heldRun(lab, { case: 'unshaped', variant }, { direct, shoal, marks, bar })
      return [
        line('cold-alone', cold!, COLD),
        line('from-a-peer', peer!, PEER),
        line('own-cache', cache!, CACHE),
      ]
    }),
}

export const slowPasswords: Fault = {
  name: 'slow-passwords',
  about: 'The registry hashes the password with bcrypt at cost 10 for every request: cold, alone.',
  measure: (options) => withLab(options, { authentication: 'passwords' }, (lab) => coldAlone(lab, options)),
}

async function coldAlone(lab: Lab, options: FaultOptions): Promise<HeldRun[]> {
  const marks = marksOf(lab)
  const direct: Pulled[] = []
  const shoal: Pulled[] = []
  for (let pair = 0; pair < (options.pairs ?? PAIRS); pair++) {
    const image = await lab.publish(`passwords${pair}`, layersFor(options))
    direct.push(await pull(lab, 'node1', image, 'direct'))
    shoal.push(await pull(lab, 'node1', image, 'shoal'))
  }
  const names = { case: 'slow-passwords', variant: 'cold-alone' }
  return [heldRun(lab, names, { direct, shoal, marks, bar: PASSWORDS })]
}
