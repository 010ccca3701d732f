import { describe, expect, it } from 'vitest'
import { explainPage } from '../../cli/explain-page.ts'
import type { ShownPull } from '../../cli/node-status.ts'
import { guardPage } from '../../cli/status.ts'
import { statusPage } from '../../cli/status-page.ts'
import { frame } from '../../cli/watch.ts'
import { plainJson, plainText } from '../../core/plain-text.ts'
import { condition, endedPull, NOW_MS, runningPull, wellStatus } from './shown-status.ts'

const ESCAPE = '\u001b'
const HOSTILE = `${ESCAPE}]0;owned\u0007${ESCAPE}[2J\r\nfake: line\u009b31m\u202egnp.exe\u200b`
const plain = (columns: number) => ({ columns, isColoured: false })

function busyStatus() {
  const name = 'a-rather-long/path/of/repositories/that-nobody-likes/service-with-a-long-name'
  return wellStatus({
    ...{ status: 'degraded', codes: ['PEERS_UNREACHABLE', 'REGISTRY_UNREACHABLE'] },
    peers: { connected: 7, refused: 1, unreachable: 2, bytes: { near: 0, far: 0 } },
    cache: { blobs: 1, bytes: 5000, bytesMax: 21_474_836_480, evictions: 3 },
    conditions: [
      condition('REGISTRY_UNREACHABLE', 'registry.example.com', { reason: 'connect ETIMEDOUT' }),
      condition('REGISTRY_UNREACHABLE', 'other.example.com:5000'),
      condition('REGISTRY_HEAD_REFUSED', 'registry.example.com'),
    ],
    pulls: [
      runningPull(),
      endedPull(),
      endedPull({ repository: name, outcome: 'failed', reference: `sha256:${'c'.repeat(64)}` }),
    ],
  })
}

/** With the fewest columns that its tables need; terminals of less cut or wrap them. */
const pages: [string, (columns: number) => string[], number][] = [
  ['status', (columns) => statusPage(busyStatus(), { nowMs: NOW_MS }, plain(columns)), 66],
  ['explain', (columns) => explainPage({ pull: endedPull(), recorded: 3 }, NOW_MS, plain(columns)), 72],
  ['guard', (columns) => guardPage({ node: 'waiting', relay: 'serving' }, plain(columns)), 60],
]

describe.each(pages)('the page of %s', (name, page, columnsMin) => {
  it.each([80, 100])('is as it was looked at, %i columns wide', async (columns) => {
    await expect(`${page(columns).join('\n')}\n`).toMatchFileSnapshot(`golden/${name}-${columns}.txt`)
  })

  it('has no line that is wider than its page', () => {
    for (let columns = columnsMin; columns <= 100; columns++) {
      for (const line of page(columns)) expect(line.length, line).toBeLessThanOrEqual(columns)
    }
  })
})

describe('a page', () => {
  it('of a node with a zone says how much came from peers of it, and of others', () => {
    const { node, peers } = wellStatus()
    const status = wellStatus({
      node: { ...node, zone: 'east', rack: 'r12' },
      peers: { ...peers, bytes: { near: 1800 * 1024 ** 2, far: 12 * 1024 ** 2 } },
    })
    const page = statusPage(status, { nowMs: NOW_MS }, plain(100))
    expect(page.filter((line) => line.includes('zone'))).toEqual([
      '  zone        east, rack r12; from peers of this zone 1.8 GiB, of others 12 MiB since the start',
    ])
  })

  it('shows texts from outside without their control characters, whatever they are part of', () => {
    const hostile = endedPull({
      ...{ id: HOSTILE, registry: HOSTILE, repository: HOSTILE, reference: HOSTILE, digest: HOSTILE },
      ...{ reasons: [HOSTILE], layers: [{ ...endedPull().layers[0]!, digest: HOSTILE, reasons: [HOSTILE] }] },
    })
    const status = wellStatus({
      ...{ pulls: [hostile, { ...hostile, outcome: 'running' }] },
      node: {
        ...{ version: HOSTILE, started: new Date(NOW_MS).toISOString(), joined: false, reason: HOSTILE },
        ...{ zone: HOSTILE, rack: HOSTILE },
      },
      tracker: { url: HOSTILE, state: HOSTILE, since: new Date(NOW_MS).toISOString() },
      registries: [{ host: HOSTILE, state: HOSTILE, kinds: [], conditions: [] }],
      conditions: [
        { ...condition('CLIENT_DISTRUSTS', HOSTILE, { [HOSTILE]: HOSTILE }), text: HOSTILE, remedy: HOSTILE },
      ],
    })
    const lines = [
      ...statusPage(status, { nowMs: NOW_MS }, plain(80)),
      ...explainPage({ pull: hostile, recorded: 1 }, NOW_MS, plain(80)),
      ...guardPage({ node: HOSTILE, relay: HOSTILE }, plain(80)),
      plainJson({ [HOSTILE]: HOSTILE }),
    ]
    for (const line of lines) expect(line).toMatch(/^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]*$/u)
    expect(lines.join('\n')).toContain('\\u{1b}]0;owned')
    expect(JSON.parse(plainJson({ [HOSTILE]: `${HOSTILE}\u{e0041}` }, 2))).toEqual({
      [HOSTILE]: `${HOSTILE}\u{e0041}`,
    })
  })

  it('has colours around its own words only', () => {
    const bare = statusPage(busyStatus(), { nowMs: NOW_MS }, plain(80))
    const coloured = statusPage(busyStatus(), { nowMs: NOW_MS }, { columns: 80, isColoured: true })
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
    expect(coloured.map((line) => line.replaceAll(/\u001b\[\d+m/g, ''))).toEqual(bare)
    expect(coloured.join('')).toContain(ESCAPE)
  })

  it('names each condition’s words once, with all that it is about, the worst first', () => {
    const text = statusPage(busyStatus(), { nowMs: NOW_MS }, plain(100)).join('\n')
    expect(text.match(/a registry cannot be reached/g)).toHaveLength(1)
    expect(text.indexOf('REGISTRY_UNREACHABLE')).toBeLessThan(text.indexOf('REGISTRY_HEAD_REFUSED'))
    expect(text).toContain('other.example.com:5000')
  })

  it.each([
    ['running', /^Running for 4\.0 s \(began .* UTC\)\.$/],
    ['done', /^Done in 5\.4 s, 2 min ago \(began .* UTC\)\.$/],
    [
      'interrupted',
      /^Cut off after 5\.4 s, 2 min ago \(began .* UTC\)\. The client went away, or the node ended\.$/,
    ],
    ['failed', /^Failed after 5\.4 s, 2 min ago \(began .* UTC\)\.$/],
  ] as const)('says of a pull that is %s how long it took', (outcome, words) => {
    const pull = outcome === 'running' ? runningPull() : endedPull({ outcome })
    const [, ...lines] = explainPage({ pull, recorded: 1 }, NOW_MS, plain(100))
    const end = lines.findIndex((line) => /^ {2}(sha256:|pull id)/.test(line))
    expect(
      lines
        .slice(0, end)
        .map((line) => line.trim())
        .join(' '),
    ).toMatch(words)
  })

  it('counts a whole layer by its bytes where no manifest told its size', () => {
    const { size: _, ...layer } = runningPull().layers[1]!
    const pull = { ...runningPull(), layers: [runningPull().layers[0]!, layer] }
    const shown = (one: ShownPull) => statusPage(wellStatus({ pulls: [one] }), { nowMs: NOW_MS }, plain(100))
    expect(shown(pull)).toEqual(shown(runningPull()))
    expect(explainPage({ pull, recorded: 1 }, NOW_MS, plain(100)).join('\n')).toMatch(/2{12} +28 MiB/)
    const open = { ...pull, layers: pull.layers.map((one) => ({ ...one, outcome: 'running' as const })) }
    expect(shown(open).join('\n')).not.toContain('left')
  })

  it('that is watched fits into the terminal, and replaces what was there line by line', () => {
    const lines = Array.from({ length: 30 }, (_, n) => `line ${n}`)
    const text = frame(lines, 10)
    expect(text.match(/\r\n/g)).toHaveLength(9)
    expect(text).toContain('… 22 more lines')
    expect(frame(['one'], 10)).toBe(
      `${ESCAPE}[?2026h${ESCAPE}[Hone${ESCAPE}[K\r\n${ESCAPE}[J${ESCAPE}[?2026l`,
    )
  })
})

it('plain text stays as it is', () => expect(plainText('Größe … 日本 a@b:c')).toBe('Größe … 日本 a@b:c'))
