import { type Fault, heldRun, layersFor, marksOf, type Pulled, pull, withLab } from './fault.ts'

const NAME = 'dropped-peer-port'
const PEER_PORT = 7071
const PAIRS = 3
const BAR = { slackSeconds: 0.5, factor: 1.2, copiesMax: undefined }

export const droppedPeerPort: Fault = {
  name: NAME,
  about: 'A firewall drops what comes to the peer port of the only node that has the image.',
  measure: (options) =>
    withLab(options, {}, async (lab) => {
      const images = []
      for (let pair = 0; pair < (options.pairs ?? PAIRS); pair++) {
        const image = await lab.publish(`dropped${pair}`, layersFor(options))
        await pull(lab, 'node1', image, 'shoal')
        images.push(image)
      }
      await lab.run.network.dropPort(lab.node('node1').host, PEER_PORT)
      const marks = marksOf(lab)
      const direct: Pulled[] = []
      const shoal: Pulled[] = []
      for (const image of images) {
        direct.push(await pull(lab, 'node2', image, 'direct'))
        shoal.push(await pull(lab, 'node2', image, 'shoal'))
      }
      return [heldRun(lab, { case: NAME, variant: 'only-seed' }, { direct, shoal, marks, bar: BAR })]
    }),
}
