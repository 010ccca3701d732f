import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { BlobRequest, OpenBlob } from '../../client/index.ts'
import { pull, randomBlob, startTestCluster, type TestBlob, type TestCluster } from './test-cluster.ts'

/** The node's own request for bytes is the question whether their reader may have them. */

const MIB = 1024 * 1024
const PATIENCE_MS = 5_000

let cluster: TestCluster
let blob: TestBlob
let request: BlobRequest
const opened: OpenBlob[] = []
beforeEach(async () => {
  cluster = await startTestCluster({ nodes: 2, configuresKeys: true })
  blob = cluster.registry.add(randomBlob(3 * MIB).bytes)
  request = cluster.request(blob)
})
afterEach(async () => {
  for (const one of opened.splice(0)) one.close()
  await cluster.close()
})

/** As after a manifest: the grant is on its way. */
function plan({ digest, bytes, ...image }: BlobRequest, node = 0): void {
  cluster.nodes[node]!.client.plan({ ...image, blobs: [{ digest, bytes }] })
}

async function openAhead(wanted: BlobRequest, node = 0): Promise<OpenBlob | undefined> {
  const one = await cluster.nodes[node]!.client.openAhead(wanted)
  if (one !== undefined) opened.push(one)
  return one
}

/** Requests of this node for the blob; the tracker's questions are by HEAD as well. */
const gets = () =>
  cluster.registry.requests.filter(({ line }) => line === `GET /v2/team/app/blobs/${blob.digest}`)

describe('a blob of which nothing is here', () => {
  test('is served to the credential of the grant by the registry’s first answer', async () => {
    plan(request)
    const one = await openAhead(request)
    expect(await one!.isServedWithin(PATIENCE_MS)).toBe(true)
    const chunks: Buffer[] = []
    for await (const chunk of one!.read(0, one!.bytes)) chunks.push(Buffer.from(chunk))
    expect(Buffer.concat(chunks).equals(blob.bytes)).toBe(true)
    expect(gets()).toHaveLength(1)
  })

  test('is opened ahead for no other credential than the grant’s', async () => {
    plan(request)
    expect(
      await openAhead({ ...request, credential: { scheme: 'bearer', token: 'a.forged.token' } }),
    ).toBeUndefined()
    expect(await openAhead({ ...request, credential: { scheme: 'none' } })).toBeUndefined()
    expect(gets()).toHaveLength(0)
  })

  test('is not opened ahead without a grant, or when something of it is here', async () => {
    expect(await openAhead(request)).toBeUndefined()
    await pull(cluster.nodes[0]!, request)
    expect(await openAhead(request)).toBeUndefined()
  })

  test('says nothing of the caller when a peer is quicker than the registry', async () => {
    await pull(cluster.nodes[1]!, request)
    plan(request)
    const one = await openAhead(request)
    const startedMs = performance.now()
    expect(await one!.isServedWithin(PATIENCE_MS)).toBe(false)
    expect(performance.now() - startedMs).toBeLessThan(PATIENCE_MS)
  })

  test('says nothing of the caller when the registry does not answer', async () => {
    plan(request)
    await expect.poll(() => cluster.registry.requests.length).toBeGreaterThan(0)
    const one = await cluster.nodes[0]!.client.openAhead(request)
    opened.push(one!)
    cluster.registry.isDown = true
    expect(await one!.isServedWithin(300)).toBe(false)
  })
})
