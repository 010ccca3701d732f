import { type Fault, heldRun, marksOf, type Pulled, pull, withLab } from './fault.ts'

/** As in the bars: many small layers, each of which could wait for the tracker anew. */
const LAYERS = Array<number>(60).fill(400_000)
/** Enough that every connection of a client has two. */
const SMALL = LAYERS.slice(0, 12)
/** A pull that takes longer has failed. */
const PATIENCE_MS = 60_000
const SMALL_PATIENCE_MS = 20_000
const LATER_PULLS = 3
/** The pull that finds the tracker silent may cost so much, every later one LATER_SLACK_SECONDS. */
const FIRST_SLACK_SECONDS = 2.5
const LATER_SLACK_SECONDS = 0.5

const NAME = 'silent-tracker'

export const silentTracker: Fault = {
  name: NAME,
  about: 'The tracker is frozen, as when it is powered off or behind a firewall: 60 layers of 400 kB.',
  measure: (options) =>
    withLab(options, {}, async (lab) => {
      const layers = options.isSmall ? SMALL : LAYERS
      const patienceMs = options.isSmall ? SMALL_PATIENCE_MS : PATIENCE_MS
      const images = []
      const pulls = 1 + (options.pairs ?? LATER_PULLS)
      for (let index = 0; index < pulls; index++) images.push(await lab.publish(`silent${index}`, layers))
      const marks = marksOf(lab)
      const direct: Pulled[] = []
      const shoal: Pulled[] = []
      lab.tracker!.process.kill('SIGSTOP')
      try {
        for (const image of images) {
          direct.push(await pull(lab, 'node1', image, 'direct'))
          shoal.push(await pull(lab, 'node1', image, 'shoal', patienceMs))
        }
      } finally {
        lab.tracker!.process.kill('SIGCONT')
      }
      const line = (variant: string, from: number, to: number, slackSeconds: number) =>
        heldRun(
          lab,
          { case: NAME, variant },
          {
            ...{ direct: direct.slice(from, to), shoal: shoal.slice(from, to), marks },
            bar: { slackSeconds, factor: 1, copiesMax: undefined },
          },
        )
      return [
        line('first-pull', 0, 1, FIRST_SLACK_SECONDS),
        line('later-pulls', 1, pulls, LATER_SLACK_SECONDS),
      ]
    }),
}
