import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { requirementsFor, startLab } from '../../lab/cluster.ts'
import type { Lab } from '../../lab/lab.ts'
import { remainsOf } from '../../lab/machine/leftovers.ts'
import type { LabHost } from '../../lab/machine/network.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import type { ImageReference, PullerKind } from '../../lab/pullers/puller.ts'
import type { AttackOptions } from './attacker-main.ts'
import { expectWhole, logged, logLines, TINY_IMAGE, tell } from './fault-story.ts'

const KINDS: PullerKind[] = ['docker', 'skopeo', 'podman']
const LAYER_BYTES = 4_000_000

interface Attack {
  node: string
  /** The code with which it is refused a pull, once it is. */
  refusal(): Promise<string | undefined>
}

/** Members of the cluster lie about a piece, and real clients pull the image. */
describe.skipIf(mustSkipFor(requirementsFor(KINDS)))('real clients in a cluster with liars', () => {
  let lab: Lab
  let host: LabHost
  let attacks = 0
  beforeAll(async () => {
    lab = await startLab({
      nodes: KINDS.map((kind) => ({ name: kind, puller: kind })),
      layerDataBytes: TINY_IMAGE,
    })
    host = await lab.run.network.addHost('attacker')
  })
  afterAll(async () => {
    await lab?.close()
    if (lab) expect(remainsOf(lab.run.id)).toEqual([])
  })

  async function attack(role: AttackOptions['role'], { layers }: ImageReference): Promise<Attack> {
    attacks += 1
    const { registry, tracker, run } = lab
    const { user, password } = registry.puller
    const scope = `repository:${registry.repository}:pull`
    const options: AttackOptions = {
      role,
      ...tracker!.join,
      registry: registry.host as AttackOptions['registry'],
      repository: registry.repository as AttackOptions['repository'],
      registryCaFile: join(lab.registryHost.etcDocker, 'certs.d', registry.host, 'lab.crt'),
      tokenUrl: `${registry.tokenUrl}?service=${registry.host}&scope=${scope}`,
      basic: Buffer.from(`${user}:${password}`).toString('base64'),
      digest: layers[0]!.digest,
      blobFile: registry.blobFile(layers[0]!.digest),
    }
    const file = join(host.dir, `attack-${attacks}.json`)
    writeFileSync(file, JSON.stringify(options), { mode: 0o600 })
    const program = fileURLToPath(new URL('./attacker-main.ts', import.meta.url))
    const part = run.processes.startPiped({
      name: `attacker-${attacks}`,
      argv: host.command([process.execPath, program, file]),
    })
    const lines = createInterface({ input: part.child.stdout! })
    const next = async () => JSON.parse(String((await once(lines, 'line', SOON()))[0]))
    const { node } = await next()
    return {
      node,
      async refusal() {
        part.child.stdin!.write('\n')
        return (await next()).refusal
      },
    }
  }

  /** Nodes that the tracker found to have lied. */
  const convicted = () =>
    logLines(lab.tracker!.process).flatMap(({ code, liar }) => (code === 'HASH_LIE' ? [liar] : []))

  test.each(KINDS)(
    'publisher of a wrong hash: %s gets the right image, and the liar is revoked',
    async (kind) => {
      const image = await lab.publish(`lie-${kind}`, [LAYER_BYTES])
      const liar = await attack('liar', image)
      expect(await tell(lab, image, [kind]).ended(kind)).toEqual([kind === 'docker' ? 'pulled' : 'failed'])
      if (kind !== 'docker') expect(await tell(lab, image, [kind]).ended(kind)).toEqual(['pulled'])
      await expectWhole(lab, image, [kind])
      expect(logged(lab.node(kind).shoal!.process)).toContain('BLOB_DISTRUSTED')
      expect(await liar.refusal()).toBe('NODE_REVOKED')
      expect(convicted()).toContain(liar.node)
    },
  )

  test('nodes that reported the lies are not revoked: they get the next image through the swarm', async () => {
    const image = await lab.publish('after', [LAYER_BYTES])
    const story = tell(lab, image, KINDS)
    expect(await story.ended(...KINDS)).toEqual(KINDS.map(() => 'pulled'))
    await expectWhole(lab, image, KINDS)
    for (const kind of KINDS) expect(await story.share(kind)).toBe(1)
    expect(convicted()).toHaveLength(KINDS.length)
  })

  test('false reporter: it is revoked, and the publisher of the right hash is not', async () => {
    const first = await lab.publish('slandered', [LAYER_BYTES])
    expect(await tell(lab, first, ['skopeo']).ended('skopeo')).toEqual(['pulled'])
    const slanderer = await attack('slanderer', first)
    expect(await slanderer.refusal()).toBe('NODE_REVOKED')
    expect(convicted()).toHaveLength(KINDS.length + 1)
    expect(convicted()).toContain(slanderer.node)
    const next = await lab.publish('after-slander', [LAYER_BYTES])
    const story = tell(lab, next, ['skopeo'])
    expect(await story.ended('skopeo')).toEqual(['pulled'])
    expect(await story.share('skopeo')).toBe(1)
  })
})

/** An attacker starts in a second, and waits for a verdict for five. */
const SOON = () => ({ signal: AbortSignal.timeout(20_000) })
