import type { OddRegistry } from '../../../lab/field/manners.ts'
import { ACCOUNT, type FieldCase, variant, WITH_TOKENS } from '../field-case.ts'

/** Registries whose answers are late, long, or spelled in an unusual way. */

const PLAIN: OddRegistry = { name: 'plain.field.test', ...WITH_TOKENS }

const ordinary: FieldCase = {
  name: 'ordinary',
  about: 'A registry without peculiarity: what the lab says when all is well.',
  source: 'control',
  registries: [PLAIN],
  variants: [variant('two-layers', PLAIN, { layers: [3_000_000, 1_000_000] })],
}

const LATE_HEAD: OddRegistry = {
  name: 'late-head.field.test',
  manners: [{ on: { method: 'HEAD', of: 'layers' }, waitMs: 14_000 }],
}

const lateHead: FieldCase = {
  name: 'late-head',
  about: 'A pull-through cache answers HEAD only when it has fetched the blob itself; its GET is quick.',
  source: 'getnora-io/nora#1001, sonatype/nexus-public#284',
  registries: [LATE_HEAD],
  variants: [
    variant('skopeo', LATE_HEAD, { canShare: false }),
    variant('docker', LATE_HEAD, { client: 'docker' }),
  ],
  isLong: true,
}

const SLOW_BLOB: OddRegistry = {
  name: 'slow-blob.field.test',
  manners: [
    { on: { method: 'HEAD', of: 'layers' }, status: 404 },
    { on: { method: 'GET', of: 'layers' }, waitMs: 75_000 },
  ],
}
const SLOW_MANIFEST: OddRegistry = {
  name: 'slow-manifest.field.test',
  manners: [{ on: { of: 'manifests' }, waitMs: 75_000 }],
}

const slowFirstByte: FieldCase = {
  name: 'slow-first-byte',
  about: 'The first byte of a blob or manifest comes after 75 s, from behind a proxy cache.',
  source: 'goharbor/harbor#22609, getnora-io/nora#1001, sonatype/nexus-public#284',
  registries: [SLOW_BLOB, SLOW_MANIFEST],
  variants: [
    variant('blob', SLOW_BLOB, { canShare: false }),
    variant('manifest', SLOW_MANIFEST, { canShare: false, client: 'curl' }),
  ],
  isLong: true,
}

const lateHeads = (waitMs: number) => [{ on: { method: 'HEAD' as const, of: 'blobs' as const }, waitMs }]
const BUSY = [800, 1500, 3000].map(
  (waitMs): OddRegistry => ({
    name: `busy-${waitMs}.field.test`,
    ...WITH_TOKENS,
    manners: lateHeads(waitMs),
  }),
)
/** Whose callers are recognised in other ways. */
const BUSY_TOO: OddRegistry[] = [
  { name: 'busy-opaque.field.test', authentication: { kind: 'opaque', account: ACCOUNT } },
  { name: 'busy-basic.field.test', authentication: { kind: 'basic', account: ACCOUNT } },
  { name: 'busy-open.field.test', kind: 'token' },
].map((registry) => ({ ...registry, manners: lateHeads(1500) }) as OddRegistry)

const busyRegistry: FieldCase = {
  name: 'busy-registry',
  about: 'A registry under load: HEAD of a blob takes 0.8 to 3 s, GET is quick.',
  source: 'dragonflyoss/dragonfly#3783, spegel-org/spegel#551',
  registries: [...BUSY, ...BUSY_TOO],
  variants: [...BUSY, ...BUSY_TOO].map((registry) =>
    variant(registry.name.split('.')[0]!.replace('busy', 'head'), registry),
  ),
}

const BOTH_LENGTHS: OddRegistry = {
  name: 'both-lengths.field.test',
  manners: [{ on: { method: 'GET', of: 'manifests' }, spelling: 'length-and-chunked' }],
}

const lengthAndChunked: FieldCase = {
  name: 'length-and-chunked',
  about: 'One answer has Content-Length and Transfer-Encoding: chunked; Go and curl take it.',
  source: 'nodejs/node#7136, honojs/node-server#270, travelaudience/nexus-proxy#20',
  registries: [BOTH_LENGTHS],
  variants: [variant('skopeo', BOTH_LENGTHS), variant('docker', BOTH_LENGTHS, { client: 'docker' })],
}

const LENGTHS = (['zero', 'half', 'none'] as const).map(
  (length): OddRegistry => ({
    name: `head-${length}.field.test`,
    manners: [{ on: { method: 'HEAD', of: 'blobs' }, length }],
  }),
)

const headLength: FieldCase = {
  name: 'head-length',
  about: 'HEAD of a blob tells no length, zero, or the length of something else; GET is right.',
  source: 'yusing/godoxy#169, distribution/distribution#4895, ahmetb/serverless-registry-proxy#10',
  registries: LENGTHS,
  variants: LENGTHS.map((registry) =>
    variant(registry.name.split('.')[0]!, registry, { layers: [2_000_000] }),
  ),
}

const LONG_BYTES = 20_000
const LONG_LOCATION: OddRegistry = {
  name: 'long-location.field.test',
  manners: [
    {
      on: { of: 'layers' },
      redirect: {
        status: 307,
        origin: 'https://store-a.field.test',
        path: 'signed',
        signatureBytes: LONG_BYTES,
      },
    },
  ],
}
const LONG_POLICY: OddRegistry = {
  name: 'long-policy.field.test',
  manners: [
    { on: { of: 'blobs' }, headers: { 'content-security-policy': 'x'.repeat(LONG_BYTES) } },
    { on: { of: 'manifests' }, headers: { 'content-security-policy': 'x'.repeat(LONG_BYTES) } },
  ],
}
const STORE_A: OddRegistry = { name: 'store-a.field.test', kind: 'unlisted' }

const largeHeaders: FieldCase = {
  name: 'large-headers',
  about: 'Answers with 20 KB of headers: a signed URL with a long session token, or a long policy.',
  source: 'vercel/next.js#54709, solidjs/solid#3131, h2o/h2o#951',
  registries: [LONG_LOCATION, LONG_POLICY, STORE_A],
  variants: [variant('location', LONG_LOCATION), variant('policy', LONG_POLICY)],
}

const HTTP10: OddRegistry = {
  name: 'http10.field.test',
  manners: [
    { on: { of: 'blobs' }, spelling: 'http10' },
    { on: { of: 'manifests' }, spelling: 'http10' },
  ],
}
const HTTP10_TOKEN: OddRegistry = { ...HTTP10, ...WITH_TOKENS, name: 'http10-token.field.test' }
const NO_REASON: OddRegistry = {
  name: 'no-reason.field.test',
  manners: [
    { on: { of: 'blobs' }, spelling: 'no-reason' },
    { on: { of: 'manifests' }, spelling: 'no-reason' },
  ],
}
const HINTS: OddRegistry = {
  name: 'hints.field.test',
  manners: [
    { on: { of: 'blobs' }, hasEarlyHints: true },
    { on: { of: 'manifests' }, hasEarlyHints: true },
  ],
}

const oldHttp: FieldCase = {
  name: 'old-http',
  about: 'HTTP/1.0 that ends a body by closing, a status line without reason, and 103 before each answer.',
  source: 'ahmetb/serverless-registry-proxy#10, cloudfoundry/garden#62',
  registries: [HTTP10, HTTP10_TOKEN, NO_REASON, HINTS],
  variants: [
    variant('http10', HTTP10, { layers: [2_000_000] }),
    variant('http10-token', HTTP10_TOKEN, { layers: [2_000_000] }),
    variant('no-reason', NO_REASON, { layers: [2_000_000] }),
    variant('early-hints', HINTS, { layers: [2_000_000] }),
    variant('http10-docker', HTTP10, { client: 'docker' }),
  ],
}

const GZIP: OddRegistry = {
  name: 'gzip.field.test',
  manners: [
    { on: { of: 'manifests' }, isGzipped: true },
    { on: { of: 'layers' }, redirect: { status: 307, origin: 'https://store-b.field.test', path: 'signed' } },
  ],
}
const JSON_TYPE: OddRegistry = {
  name: 'json-type.field.test',
  manners: [
    { on: { of: 'manifests' }, mediaType: 'application/json' },
    { on: { of: 'layers' }, redirect: { status: 307, origin: 'https://store-b.field.test', path: 'signed' } },
  ],
}

const STORE_B: OddRegistry = { name: 'store-b.field.test', kind: 'unlisted' }

const gzipManifest: FieldCase = {
  name: 'gzip-manifest',
  about:
    'The manifest is compressed or has a general type, and HEAD of a blob is redirected: no other length is told.',
  source: 'containerd/containerd#8197, yusing/godoxy#169',
  registries: [GZIP, JSON_TYPE, STORE_B],
  variants: [
    variant('gzip', GZIP, { layers: [2_000_000] }),
    variant('gzip-docker', GZIP, { client: 'docker', layers: [2_000_000] }),
    variant('json-type', JSON_TYPE, { client: 'curl', layers: [2_000_000] }),
  ],
}

export const ANSWERS: FieldCase[] = [
  ordinary,
  lateHead,
  slowFirstByte,
  busyRegistry,
  lengthAndChunked,
  headLength,
  largeHeaders,
  oldHttp,
  gzipManifest,
]
