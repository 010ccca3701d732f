import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { type FiguresQuestion, figuresOf, type PolicyFigures } from './policy-figures.ts'

/**
 * The deletion test: each rule of the swarm's policy, and a small simulated swarm that is worse off without it. The rule is
 * taken out of the shipped source as a process reads it, so that a rule that moves must be found again here. Simulations
 * give the same figures for the same seed. A rule that makes nothing worse is deleted, with its row.
 */
interface PolicyRule {
  name: string
  file: string
  /** Code that stands in the file once. */
  rule: string
  /** What stands there without the rule. */
  without: string
  /** Where it shows, and by how much at least. */
  worse: FiguresQuestion & { figure: keyof PolicyFigures; times: number }
}

const flash = { scenario: 'flash', nodes: 100, seed: 1 } as const
const warm = { scenario: 'warm', nodes: 64, seed: 1 } as const
const deaths = { scenario: 'deaths', nodes: 100, seed: 2 } as const
const slow = { scenario: 'slow', nodes: 100, seed: 2 } as const
const trickle = { scenario: 'trickle', nodes: 100, seed: 1 } as const

const UPLOADS = 'client/engine/upload-queue.ts'
const DOWNLOAD = 'client/engine/download.ts'
const PACE = 'client/engine/pace.ts'
const LEASES = 'tracker/handout/leases.ts'

const RULES: PolicyRule[] = [
  {
    name: 'a piece that hardly any peer offers is picked first',
    file: 'client/engine/picker.ts',
    rule: 'const rare = rarest(offered, view, 0, view.pieceCount, rareMax(view.sources))',
    without: 'const rare = undefined as PieceIndex | undefined',
    worse: { ...flash, figure: 'time', times: 1.04 },
  },
  {
    name: 'one of equally rare pieces is picked by chance',
    file: 'client/engine/picker.ts',
    rule: 'if (view.random() * ties < 1) best = piece',
    without: 'if (ties === 1) best = piece',
    worse: { ...warm, figure: 'time', times: 1.2 },
  },
  {
    name: 'in the end game a late piece is asked of a second source',
    file: DOWNLOAD,
    rule: 'const piece = this.#pick(source) ?? this.#pickAgain(source)',
    without: 'const piece = this.#pick(source)',
    worse: { ...slow, figure: 'time', times: 1.03 },
  },
  {
    name: 'no piece is asked for twice while this link is full',
    file: PACE,
    rule: 'if (isLinkKnown && this.#link.isFull(nowMs)) return Number.POSITIVE_INFINITY',
    without: '',
    worse: { ...flash, figure: 'sent', times: 1.02 },
  },
  {
    name: '32 MiB of a blob may be in flight',
    file: PACE,
    rule: 'PIECE_BUFFERS_BYTES_MAX / 2',
    without: 'PIECE_BUFFERS_BYTES_MAX / 4',
    worse: { ...flash, figure: 'time', times: 1.1 },
  },
  {
    name: 'a cancelled piece that arrives all the same is accepted',
    file: DOWNLOAD,
    rule: 'this.#takeBack(source, block)\n    if',
    without: 'if',
    worse: { ...trickle, figure: 'sent', times: 1.01 },
  },
  {
    name: 'a seed is spared what a downloader offers by now',
    file: DOWNLOAD,
    rule: 'isLetOff = this.#letSeedOff(piece, source) || isLetOff',
    without: 'isLetOff = isLetOff',
    worse: { ...warm, figure: 'time', times: 1.1 },
  },
  {
    name: "downloaders share a seed's pieces by their place",
    file: DOWNLOAD,
    rule: 'const isTaken = (piece: PieceIndex) => piece % of !== at || view.isTaken(piece)',
    without: 'const isTaken = (piece: PieceIndex) => (of < 0 && at < 0) || view.isTaken(piece)',
    worse: { ...warm, figure: 'time', times: 2 },
  },
  {
    name: 'a seed is asked for what only seeds have',
    file: 'client/engine/sources.ts',
    rule: 'if (!source.isSnubbed && !(source.offered.isFull && this.areSeedsFew())) return false',
    without: 'if (!source.isSnubbed) return false',
    worse: { ...warm, figure: 'time', times: 1.1 },
  },
  {
    name: 'few peers are served at a time',
    file: UPLOADS,
    rule: 'if (isAwaited && isFull) return undefined',
    without: 'if (isAwaited && isFull && this.#turn < 0) return undefined',
    worse: { ...deaths, figure: 'medianSeconds', times: 1.01 },
  },
  {
    name: 'scarce pieces are sent first',
    file: UPLOADS,
    rule: 'return (isScarce ? 0 : 2) + this.#isSent[piece]!',
    without: 'return (isScarce ? 0 : 0) + this.#isSent[piece]!',
    worse: { ...flash, figure: 'medianSeconds', times: 1.01 },
  },
  {
    name: 'pieces that were never sent go before others',
    file: UPLOADS,
    rule: 'return (isScarce ? 0 : 2) + this.#isSent[piece]!',
    without: 'return (isScarce ? 0 : 2) + 0 * this.#isSent[piece]!',
    worse: { ...warm, figure: 'time', times: 1.05 },
  },
  {
    name: 'the peer that has least is served first',
    file: UPLOADS,
    rule: 'const piecesHad = lane.piecesHad()',
    without: 'const piecesHad = 0 * lane.piecesHad()',
    worse: { ...flash, figure: 'time', times: 1.07 },
  },
  {
    name: 'peers that were never served come in any order',
    file: UPLOADS,
    rule: 'this.#lanes.set(lane, -this.#options.random())',
    without: 'this.#lanes.set(lane, -1 + this.#lanes.size / 1e6)',
    worse: { ...warm, figure: 'time', times: 1.04 },
  },
  {
    name: 'a peer that was passed over 32 times is next',
    file: UPLOADS,
    rule: 'const PASSED_OVER_MAX = 32',
    without: 'const PASSED_OVER_MAX = Infinity',
    worse: { ...flash, figure: 'time', times: 1.01 },
  },
  {
    name: "a slot that the other side's link holds up does not count",
    file: 'client/engine/upload-slots.ts',
    rule: 'const SLOW_TIMES = 1.3',
    without: 'const SLOW_TIMES = Infinity',
    worse: { ...flash, figure: 'time', times: 1.06 },
  },
  {
    name: 'calls to the tracker that bring no lease become rarer',
    file: 'client/origin/origin-plan.ts',
    rule: 'const ASK_PAUSE_MS_MIN = 6_000',
    without: 'const ASK_PAUSE_MS_MIN = 500',
    worse: { ...flash, figure: 'requests', times: 1.2 },
  },
  {
    name: 'a newcomer gets the far half of what nobody has requested',
    file: LEASES,
    rule: 'firstFreeRun(LEASE_PIECES_MAX)(question) ?? farHalfOf(unrequested, pieceBytes)',
    without: 'firstFreeRun(LEASE_PIECES_MAX)(question) ?? farHalfOf([], pieceBytes)',
    worse: { ...flash, figure: 'time', times: 1.1 },
  },
  {
    name: 'a late holder keeps only what it will deliver soon',
    file: 'tracker/handout/late-holders.ts',
    rule: 'return Math.floor(KEPT_MS / slowestMs)',
    without: 'return Number.POSITIVE_INFINITY',
    worse: { scenario: 'slow', nodes: 2, seed: 1, figure: 'time', times: 1.5 },
  },
]

/** Of one process; the slowest takes a tenth. */
const PATIENCE_MS = 60_000

const shipped = new Map<string, PolicyFigures>()
function shippedFigures(question: FiguresQuestion): PolicyFigures {
  const id = JSON.stringify(question)
  const known = shipped.get(id) ?? figuresOf(question)
  shipped.set(id, known)
  return known
}

async function figuresWithout(rule: PolicyRule, question: FiguresQuestion): Promise<PolicyFigures> {
  const hook = new URL('./without-rule.js', import.meta.url).href
  const main = new URL('./simulate-main.ts', import.meta.url).pathname
  const child = spawn(process.execPath, ['--import', hook, main, JSON.stringify(question)], {
    env: { ...process.env, SHOAL_WITHOUT_RULE: JSON.stringify(rule) },
    timeout: PATIENCE_MS,
  })
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)])
  if (output === '') throw new Error(errors)
  return JSON.parse(output) as PolicyFigures
}

test.concurrent.each(RULES)('$name', { timeout: PATIENCE_MS }, async (rule) => {
  const { figure, times, ...question } = rule.worse
  const without = await figuresWithout(rule, question)
  expect(without[figure]).toBeGreaterThan(times * shippedFigures(question)[figure])
})
