import { describe, expect, test } from 'vitest'
import type { PullBytes } from '../../proxy/pull-record.ts'
import { PULL_IDLE_MS, PULL_LAYERS_KEPT_MAX, PULLS_KEPT_MAX, PullRecords } from '../../proxy/pull-records.ts'

const digestOf = (n: number) => `sha256:${n.toString(16).padStart(64, '0')}` as never
const home = { registry: 'registry.example' as never, repository: 'team/app' as never }

function begin() {
  let nowMs = 1000
  const records = new PullRecords({ nowMs: () => nowMs })
  return {
    records,
    passMs: (ms: number) => (nowMs += ms),
    layer: (n: number, isPart = false) => records.begin({ ...home, digest: digestOf(n), isPart }),
    image: (reference: string, layers: number[], digest = digestOf(0xa)) =>
      records.sawImage({
        ...home,
        reference,
        digest,
        blobs: layers.map((n) => ({ digest: digestOf(n), bytes: 1 })),
      }),
  }
}

const bytes = (some: Partial<PullBytes>): PullBytes => ({
  ...{ peers: 0, registry: 0, cache: 0, passedThrough: 0 },
  ...some,
})

describe('the record of a pull', () => {
  test('holds the layers of an image whose manifest passed, with bytes by source, times and outcome', () => {
    const { records, image, layer, passMs } = begin()
    image('v1', [1, 2])
    const [one, two] = [layer(1), layer(2)]
    one.size(50)
    one.reads({ peers: 30, registry: 20, cache: 0 })
    two.reads({ peers: 0, registry: 0, cache: 7 })
    passMs(100)
    one.end('swarm')
    expect(records.list()).toMatchObject([
      { outcome: 'running', bytes: bytes({ peers: 30, registry: 20, cache: 7 }) },
    ])
    passMs(100)
    two.end('swarm')
    const [pull] = records.list()
    expect(pull).toMatchObject({
      ...home,
      reference: 'v1',
      digest: digestOf(0xa),
      outcome: 'done',
      beganMs: 1000,
      endedMs: 1200,
      reasons: ['FIRST_IN_CLUSTER'],
      bytes: bytes({ peers: 30, registry: 20, cache: 7 }),
      layers: [{ digest: digestOf(1), size: 50, endedMs: 1100 }, { digest: digestOf(2) }],
    })
    expect(pull!.id).toMatch(/^[0-9a-f]{16}$/)
    expect(records.total()).toEqual(bytes({ peers: 30, registry: 20, cache: 7 }))
  })

  test('of a blob whose manifest did not pass is its own', () => {
    const { records, layer } = begin()
    layer(1).end('swarm')
    layer(2).end('swarm')
    expect(records.list().map(({ reference, layers }) => [reference, layers.length])).toEqual([
      [undefined, 1],
      [undefined, 1],
    ])
  })

  test('names the reason of each fallback, and counts what the registry sent itself', () => {
    const { records, layer } = begin()
    const account = layer(1)
    account.fell('TRACKER_UNAVAILABLE')
    account.fell('TRACKER_UNAVAILABLE')
    const watcher = account.passes('registry_fallback')
    watcher.onStart(200, {})
    watcher.onData(Buffer.alloc(40))
    watcher.onEnd()
    account.end('registry_fallback')
    expect(records.list()).toMatchObject([
      { outcome: 'done', reasons: ['TRACKER_UNAVAILABLE'], bytes: bytes({ passedThrough: 40 }) },
    ])
  })

  test.each([
    ['the answer of the registry breaks off', 200, false, 'interrupted', []],
    ['the registry refuses', 403, true, 'failed', ['REGISTRY_REFUSED', 'HTTP_403']],
  ])('says what became of it when %s', (_case, status, isEnded, outcome, reasons) => {
    const { records, layer } = begin()
    const account = layer(1)
    const watcher = account.passes(status === 403 ? 'registry_refused' : 'registry_fallback')
    watcher.onStart(status, {})
    watcher.onData(Buffer.alloc(5))
    if (isEnded) watcher.onEnd()
    account.end(status === 403 ? 'registry_refused' : 'registry_fallback')
    const passedThrough = status === 200 ? 5 : 0
    expect(records.list()).toMatchObject([{ outcome, reasons, bytes: bytes({ passedThrough }) }])
  })

  test.each([
    ['client_gone', 'interrupted'],
    ['cut_short', 'failed'],
    ['error', 'failed'],
    ['registry_fallback', 'interrupted'],
  ] as const)('that ended with %s is %s', (outcome, expected) => {
    const { records, layer } = begin()
    layer(1).end(outcome)
    expect(records.list()).toMatchObject([{ outcome: expected }])
  })

  test('leaves nothing of a request that the registry only asked for a token', () => {
    const { records, layer } = begin()
    const account = layer(1)
    account.passes('registry_refused').onStart(401, {})
    account.end('registry_refused')
    expect(records.list()).toEqual([])
    layer(1).end('swarm')
    expect(records.list()).toMatchObject([{ outcome: 'done', reasons: [] }])
  })

  test('goes on with a layer that is asked for again after it failed, and is done when that is', () => {
    const { records, image, layer } = begin()
    image('v1', [1])
    layer(1).end('cut_short')
    expect(records.list()).toMatchObject([{ outcome: 'failed' }])
    layer(1, true).end('swarm')
    expect(records.list()).toMatchObject([{ outcome: 'done' }])
  })

  test('is a new one when the image is pulled again, or after a pause', () => {
    const { records, image, layer, passMs } = begin()
    image('v1', [1, 2])
    layer(1).end('swarm')
    layer(1).end('swarm')
    expect(records.list()).toHaveLength(2)
    passMs(PULL_IDLE_MS)
    layer(2).end('swarm')
    expect(records.list()).toHaveLength(3)
    image('v1', [2, 3], digestOf(0xb))
    layer(3).end('swarm')
    expect(records.list()).toHaveLength(4)
  })

  test('runs as long as one of several requests for a part does', () => {
    const { records, layer } = begin()
    const [one, two] = [layer(1, true), layer(1, true)]
    one.reads({ peers: 1, registry: 0, cache: 0 })
    two.reads({ peers: 2, registry: 0, cache: 0 })
    one.end('swarm')
    expect(records.list()).toMatchObject([{ outcome: 'running', bytes: bytes({ peers: 3 }) }])
    two.end('swarm')
    expect(records.list()).toMatchObject([{ outcome: 'done', bytes: bytes({ peers: 3 }) }])
  })
})

test('records are bounded, in pulls and in layers, and the oldest go first', () => {
  const { records, image, layer } = begin()
  for (let n = 0; n < PULLS_KEPT_MAX + 5; n++) layer(n).end('swarm')
  expect(records.list()).toHaveLength(PULLS_KEPT_MAX)
  expect(records.list().at(-1)!.layers[0]!.digest).toBe(digestOf(5))
  const perImage = 1000
  for (let at = 0; at < 6; at++) {
    const layers = Array.from({ length: perImage }, (_, n) => 10_000 + at * perImage + n)
    image(`v${at}`, layers, digestOf(at))
    for (const n of layers) layer(n).end('swarm')
  }
  const kept = records.list()
  expect(kept.reduce((sum, pull) => sum + pull.layers.length, 0)).toBeLessThanOrEqual(PULL_LAYERS_KEPT_MAX)
  expect(kept[0]!.reference).toBe('v5')
})
