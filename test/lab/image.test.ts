import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { afterAll, expect, test } from 'vitest'
import { digestHex } from '../../core/digest.ts'
import { type LabImage, makeImage, makeImageIndex } from '../../lab/image/image.ts'
import { unpackedDigests } from '../../lab/pullers/puller.ts'

const dir = mkdtempSync(join(tmpdir(), 'shoal-image-'))
afterAll(() => rmSync(dir, { recursive: true }))

/** Bytes of all layers as they travel. */
const layerBytesOf = ({ layers }: LabImage) => layers.reduce((sum, { bytes }) => sum + bytes, 0)

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

test('an image is a layout in which every blob is what its name says and layers are as large as asked for', async () => {
  const image = await makeImage({ dir, layerDataBytes: [300_000, 200_000], tag: 'v1' })
  const blobs = join(dir, 'blobs', 'sha256')
  for (const name of readdirSync(blobs)) expect(sha256(readFileSync(join(blobs, name)))).toBe(name)

  const index = JSON.parse(readFileSync(join(dir, 'index.json'), 'utf8'))
  expect(index.manifests[0].digest).toBe(image.manifestDigest)
  const manifest = JSON.parse(readFileSync(join(blobs, digestHex(image.manifestDigest)), 'utf8'))
  expect(manifest.config.digest).toBe(image.configDigest)
  expect(manifest.layers.map((layer: { digest: string }) => layer.digest)).toEqual(
    image.layers.map(({ digest }) => digest),
  )
  const archives = image.layers.map(({ digest }) => gunzipSync(readFileSync(join(blobs, digestHex(digest)))))
  const diffIds = archives.map((archive) => `sha256:${sha256(archive)}`)
  expect(unpackedDigests(image)).toEqual([image.configDigest, ...diffIds])
  expect(layerBytesOf(image)).toBeGreaterThan(500_000)
  expect(layerBytesOf(image)).toBeLessThan(510_000)
})

test('compression does not shrink the data, so that the transferred size is the requested one', async () => {
  const image = await makeImage({
    dir: join(dir, 'packed'),
    layerDataBytes: [400_000],
    tag: 'v1',
    compression: { gzipLevel: 9 },
  })
  expect(layerBytesOf(image)).toBeGreaterThan(400_000)
})

test('an index names one image for each architecture, and all its blobs are in the layout', async () => {
  const at = join(dir, 'index')
  const { indexDigest, images } = await makeImageIndex({ dir: at, layerDataBytes: [1_000], tag: 'v1' })
  const blobs = join(at, 'blobs', 'sha256')
  for (const name of readdirSync(blobs)) expect(sha256(readFileSync(join(blobs, name)))).toBe(name)
  const { manifests } = JSON.parse(readFileSync(join(blobs, digestHex(indexDigest)), 'utf8'))
  const named = manifests.map((manifest: { digest: string; platform: { architecture: string } }) => [
    ...[manifest.platform.architecture, manifest.digest],
  ])
  expect(named).toEqual([
    ['amd64', images.amd64.manifestDigest],
    ['arm64', images.arm64.manifestDigest],
  ])
})

test('layers can be packed with zstd', async () => {
  const at = join(dir, 'zstd')
  const { layers } = await makeImage({ dir: at, layerDataBytes: [1_000], tag: 'v1', compression: 'zstd' })
  const packed = readFileSync(join(at, 'blobs', 'sha256', digestHex(layers[0]!.digest)))
  expect(`sha256:${sha256(zstdDecompressSync(packed))}`).toBe(layers[0]!.diffId)
})
