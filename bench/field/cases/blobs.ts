import type { OddRegistry } from '../../../lab/field/manners.ts'
import { type FieldCase, variant, WITH_TOKENS } from '../field-case.ts'

/** Registries that send blobs from elsewhere, refuse ranges or have limits; images of unusual shape. */

const SIX_LAYERS = Array<number>(6).fill(700_000)
const GATEWAY: OddRegistry = {
  name: 'gateway.field.test',
  kind: 'unlisted',
  manners: [
    { on: { of: 'blobs' }, redirect: { status: 302, origin: 'https://gateway.field.test', path: 'signed' } },
  ],
}
const toGateway = (of: 'blobs' | 'manifests') => ({
  on: { of },
  redirect: { status: 307 as const, origin: 'https://gateway.field.test', path: 'same' as const },
})
const ALL_ELSEWHERE: OddRegistry = {
  name: 'all-elsewhere.field.test',
  manners: [toGateway('blobs'), toGateway('manifests')],
}
const BLOBS_ELSEWHERE: OddRegistry = { name: 'blobs-elsewhere.field.test', manners: [toGateway('blobs')] }
const RELATIVE: OddRegistry = {
  name: 'relative.field.test',
  manners: [{ on: { of: 'blobs' }, redirect: { status: 302, origin: '', path: 'signed' } }],
}

const twoRedirects: FieldCase = {
  name: 'two-redirects',
  about: 'Blobs, and perhaps manifests, are redirected to a regional registry and from there to a store.',
  source: 'rpardini/docker-registry-proxy#144, #147 (registry.k8s.io), #164',
  registries: [ALL_ELSEWHERE, BLOBS_ELSEWHERE, RELATIVE, GATEWAY],
  variants: [
    variant('with-manifests', ALL_ELSEWHERE, { layers: [2_000_000] }),
    variant('blobs', BLOBS_ELSEWHERE, { layers: [2_000_000] }),
    variant('relative', RELATIVE, { layers: [2_000_000] }),
    variant('docker-six-layers', BLOBS_ELSEWHERE, { client: 'docker', layers: SIX_LAYERS }),
  ],
}

const HTTP_STORE: OddRegistry = {
  name: 'http-store.field.test',
  manners: [
    {
      on: { of: 'blobs' },
      redirect: { status: 307, origin: 'http://minio.field.test:9000', path: 'signed' },
    },
  ],
}
const MINIO: OddRegistry = { name: 'minio.field.test', port: 9000, isPlain: true, kind: 'unlisted' }

const httpStore: FieldCase = {
  name: 'http-store',
  about: 'The registry redirects blobs to an object store that speaks HTTP without TLS; Go follows that.',
  source: 'distribution with S3 regionendpoint, replicatedhq/kURL#472',
  registries: [HTTP_STORE, MINIO],
  variants: [variant('three-layers', HTTP_STORE, { layers: [1_500_000, 1_400_000, 1_300_000] })],
}

const RANGE_400: OddRegistry = {
  name: 'range-400.field.test',
  manners: [{ on: { of: 'blobs', isRanged: true }, status: 400 }],
}
const RANGE_501: OddRegistry = {
  name: 'range-501.field.test',
  manners: [{ on: { of: 'blobs', isRanged: true }, status: 501 }],
}
const RANGE_SHORT: OddRegistry = {
  name: 'range-short.field.test',
  manners: [{ on: { of: 'blobs', isRanged: true }, range: { bytesMax: 100_000 } }],
}
const RANGE_IGNORED: OddRegistry = {
  name: 'range-ignored.field.test',
  manners: [{ on: { of: 'blobs' }, range: 'ignored' }],
}

const rangeRefused: FieldCase = {
  name: 'range-refused',
  about: 'A range is answered with 400, with 501, with fewer bytes than asked, or with the whole blob.',
  source: 'containerd/containerd#11953, #12291, #12476',
  registries: [RANGE_400, RANGE_501, RANGE_SHORT, RANGE_IGNORED],
  variants: [
    variant('400', RANGE_400, { layers: [3_000_000] }),
    variant('501', RANGE_501, { layers: [3_000_000] }),
    variant('short', RANGE_SHORT, { layers: [3_000_000] }),
    variant('ignored', RANGE_IGNORED, { layers: [3_000_000] }),
    variant('400-docker', RANGE_400, { client: 'docker', layers: SIX_LAYERS }),
    variant('short-docker', RANGE_SHORT, { client: 'docker', layers: SIX_LAYERS }),
    variant('ignored-docker', RANGE_IGNORED, { client: 'docker', layers: SIX_LAYERS }),
  ],
}

const COLD_LAYERS = [2_000_000, 2_100_000, 900_000]

const coldWithoutRange: FieldCase = {
  name: 'cold-without-range',
  about: 'Cold at a registry without ranges: two nodes at once, again at the same registry, and one alone.',
  source: 'containerd/containerd#12291, #12476',
  registries: [{ ...RANGE_IGNORED, name: 'no-ranges.field.test' }],
  variants: ['first', 'second', 'alone'].map((name) =>
    variant(
      name,
      { ...RANGE_IGNORED, name: 'no-ranges.field.test' },
      {
        layers: COLD_LAYERS,
        hosts: name === 'alone' ? 1 : 2,
      },
    ),
  ),
}

const LAZY: OddRegistry = { name: 'lazy.field.test' }
const LAZY_SLOW: OddRegistry = {
  name: 'lazy-slow.field.test',
  manners: [{ on: { method: 'GET', of: 'layers' }, pace: { bytes: 65_536, pauseMs: 32 } }],
}
/** Far apart: in the middle, before the end, 64 KiB, and one byte. */
const LAZY_BYTES = 24_000_000
const LAZY_RANGES: [number, number][] = [
  [12_000_000, 12_000_099],
  [LAZY_BYTES - 51, LAZY_BYTES - 1],
  [6_000_000, 6_065_535],
  [0, 0],
]

const lazyRanges: FieldCase = {
  name: 'lazy-ranges',
  about: 'Lazy pulling: 66 KB here and there of a layer of 24 MB must not make all of it leave the registry.',
  source: 'containerd/stargz-snapshotter#2363, containerd/containerd#13898',
  registries: [LAZY, LAZY_SLOW],
  variants: [LAZY, LAZY_SLOW].map((registry) =>
    variant(registry === LAZY ? 'quick' : 'slow', registry, {
      client: 'curl',
      hosts: 1,
      layers: [LAZY_BYTES],
      ranges: registry === LAZY ? LAZY_RANGES : LAZY_RANGES.slice(0, 1),
      copiesMax: 0.5,
    }),
  ),
}

const TWELVE_LAYERS = Array<number>(12).fill(600_000)
const LIMITED = [40, 20].map(
  (max): OddRegistry => ({
    name: `limit-${max}.field.test`,
    ...WITH_TOKENS,
    limits: { requests: { max, windowMs: 10_000 } },
  }),
)

const requestLimit: FieldCase = {
  name: 'request-limit',
  about: 'Each address may ask 40 or 20 times in ten seconds and gets 429 above it; a pull stays below.',
  source: 'dragonflyoss/dragonfly#3783, containers/image#618, CodesWhat/drydock#343',
  registries: LIMITED,
  variants: [
    variant('40-skopeo', LIMITED[0]!, { layers: TWELVE_LAYERS }),
    variant('20-docker', LIMITED[1]!, { layers: TWELVE_LAYERS, client: 'docker' }),
  ],
}

const CONNECTIONS: OddRegistry = {
  name: 'connections.field.test',
  limits: { connectionsMax: 8 },
  manners: [{ on: { method: 'GET', of: 'blobs' }, pace: { bytes: 65_536, pauseMs: 30 } }],
}

const connectionLimit: FieldCase = {
  name: 'connection-limit',
  about: 'Each address may have eight requests under way and gets 503 above it; skopeo alone has six.',
  source: 'dragonflyoss/dragonfly#3783',
  registries: [CONNECTIONS],
  variants: [variant('eight-layers', CONNECTIONS, { layers: Array<number>(8).fill(1_200_000) })],
}

const MANY: OddRegistry = { name: 'many.field.test', ...WITH_TOKENS }

const manyLayers: FieldCase = {
  name: 'many-layers',
  about: 'An artifact with 140 layers, more than one certificate names, and an image with 127.',
  source: 'moby/moby#8230, oras-project artifacts with many files',
  registries: [MANY],
  variants: [
    variant('artifact-140', MANY, { flavour: 'artifact', layers: Array<number>(140).fill(265_000) }),
    variant('image-127', MANY, { layers: Array<number>(127).fill(265_000) }),
  ],
  isLong: true,
}

const ODD_IMAGES: OddRegistry = { name: 'odd-images.field.test' }
const artifact = { flavour: 'artifact' as const }

const oddImages: FieldCase = {
  name: 'odd-images',
  about:
    'Layers of one byte and of none, one layer three times, sha512, an index, no media type, 4 MB of manifest.',
  source: 'uber/kraken#288, OCI distribution-spec, moby/moby',
  registries: [ODD_IMAGES],
  variants: [
    variant('tiny-and-repeated', ODD_IMAGES, { ...artifact, oddities: ['tiny', 'repeated'] }),
    // No other client takes it.
    variant('sha512', ODD_IMAGES, { flavour: 'oci', oddities: ['sha512'], client: 'curl', canShare: false }),
    variant('long-manifest', ODD_IMAGES, { ...artifact, oddities: ['long'] }),
    variant('no-media-type', ODD_IMAGES, { flavour: 'oci', oddities: ['untyped'] }),
    variant('index', ODD_IMAGES, { flavour: 'oci', oddities: ['index'] }),
  ],
}

export const BLOBS: FieldCase[] = [
  twoRedirects,
  httpStore,
  rangeRefused,
  coldWithoutRange,
  lazyRanges,
  requestLimit,
  connectionLimit,
  manyLayers,
  oddImages,
]
