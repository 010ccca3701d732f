import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { requirementsFor, startLab } from '../../../lab/cluster.ts'
import type { Lab } from '../../../lab/lab.ts'
import { remainsOf } from '../../../lab/machine/leftovers.ts'
import { waitFor } from '../../../lab/machine/processes.ts'
import { mustSkipFor } from '../../../lab/machine/requirements.ts'
import type { Account } from '../../../lab/registry/registry.ts'
import type { TokenAlgorithm } from '../../../lab/registry/token-authority.ts'

interface Answer {
  status: number
  bytes: number
  text: string
}

const layerDataBytes = [6_000_000]

async function ask(lab: Lab, question: object): Promise<Answer> {
  const { host } = lab.node('node1')
  const program = join(import.meta.dirname, 'registry-get-main.ts')
  const printed = await lab.run.processes.run({
    argv: host.command([process.execPath, program]),
    env: { NODE_EXTRA_CA_CERTS: join(lab.run.dir, 'registry-ca.pem') },
    input: JSON.stringify(question),
    timeoutMs: 20_000,
  })
  return JSON.parse(printed)
}

async function tokenFor(lab: Lab, { user, password }: Account): Promise<string> {
  const query = 'service=registry.shoal.test&scope=repository:team/app:pull,push'
  const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
  const { text } = await ask(lab, { url: `https://auth.shoal.test:5001/token?${query}`, authorization })
  return JSON.parse(text).token
}

function blobUrl(lab: Lab): string {
  return `https://registry.shoal.test/v2/team/app/blobs/${lab.image.layers[0]!.digest}`
}

describe.skipIf(mustSkipFor(requirementsFor(['skopeo'])))(
  'the real registry with the lab token server',
  () => {
    describe.each(['ES256', 'RS256'] as TokenAlgorithm[])('and tokens signed with %s', (authentication) => {
      let lab: Lab
      beforeAll(async () => {
        const nodes = [{ name: 'node1', puller: 'skopeo' as const }]
        lab = await startLab({ nodes, layerDataBytes, hasShoal: false, authentication })
      })
      afterAll(async () => {
        await lab?.close()
        if (lab) expect(remainsOf(lab.run.id)).toEqual([])
      })

      test('serves a holder of a token, and nobody without one or with a broken signature', async () => {
        const token = await tokenFor(lab, lab.registry.puller)
        const flipped = token.slice(0, -10) + (token.at(-10) === 'A' ? 'B' : 'A') + token.slice(-9)
        expect(await ask(lab, { url: blobUrl(lab) })).toMatchObject({ status: 401 })
        expect(await ask(lab, { url: blobUrl(lab), authorization: `Bearer ${flipped}` })).toMatchObject({
          status: 401,
        })
        expect([...lab.registryEgress().values()]).toEqual([{ bytes: 0, requests: 0 }])
        const answer = await ask(lab, { url: blobUrl(lab), authorization: `Bearer ${token}` })
        expect(answer).toMatchObject({ status: 200, bytes: lab.image.layers[0]!.bytes })
      })

      test('counts every byte of a layer that leaves it: whole, in part, and cut off', async () => {
        const authorization = `Bearer ${await tokenFor(lab, lab.registry.puller)}`
        const egress = () => [...lab.registryEgress().values()][0]!
        const before = egress()
        expect(await ask(lab, { url: blobUrl(lab), authorization, range: 'bytes=1000-4999' })).toMatchObject({
          status: 206,
          bytes: 4000,
        })
        expect(egress()).toEqual({ bytes: before.bytes + 4000, requests: before.requests + 1 })

        await ask(lab, { url: blobUrl(lab), authorization, abortAfter: 100_000 })
        const aborted = await waitFor('the line of the aborted request', 5000, async () =>
          egress().requests === before.requests + 2 ? egress() : undefined,
        )
        expect(aborted.bytes - before.bytes - 4000).toBeGreaterThanOrEqual(100_000)
      })

      test('is what skopeo pulls from, and its copy is checked by what is on the disk', async () => {
        const { puller } = lab.node('node1')
        await lab.pull('node1')
        expect(await puller.verify(lab.image)).toBe(true)
        const otherLayer = {
          ...lab.image.layers[0]!,
          digest: lab.image.configDigest.replace(/.$/, 'x') as never,
        }
        expect(await puller.verify({ ...lab.image, layers: [otherLayer] })).toBe(false)
      })
    })
  },
)
