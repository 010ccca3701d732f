import type { Outcome, Side } from '../../lab/field/field-clients.ts'
import type { FieldLab } from '../../lab/field/field-lab.ts'
import { hostOf } from '../../lab/field/manners.ts'
import { makeOddImage, referenceTo } from '../../lab/field/odd-image.ts'
import { median } from '../measure/median.ts'
import type { FieldCase, FieldVariant } from './field-case.ts'
import { logMarks, reasonSince } from './reason.ts'
import type { HeldRun } from './report.ts'
import { type Bar, COPIES_MAX, SLACK_SECONDS } from './verdict.ts'

/** Meets one situation with Shoal and without, in turns. Each pair has an image of its own, which nobody has seen. */

/** One pull on each of the side's hosts, at once. */
interface Round {
  isOk: boolean
  /** Until the last of them has ended. */
  seconds: number
  problem: string
}

const QUICK_PAIRS = { alone: 7, shared: 3 }
/** A bound of images that a lab makes; pairs are numbered from 1. */
const PAIRS_MAX = 99

export interface MeasureOptions {
  /** Undefined: as many as suit the variant. */
  pairs: number | undefined
}

export async function measureVariant(
  lab: FieldLab,
  { name, isLong = false }: FieldCase,
  variant: FieldVariant,
  options: MeasureOptions,
): Promise<HeldRun> {
  const bar = barOf(variant)
  const pairs = Math.min(PAIRS_MAX, options.pairs ?? pairsFor(variant, isLong))
  const marks = logMarks(lab)
  const rounds: { direct: Round; shoal: Round; copies: number }[] = []
  for (let pair = 1; pair <= pairs; pair++) {
    const direct = await pullAll(lab, variant, 'direct', pair)
    const shoal = await pullAll(lab, variant, 'shoal', pair)
    rounds.push({ direct, shoal, copies: copiesOf(lab, variant, pair) })
  }
  const of = (figure: (round: (typeof rounds)[number]) => number) => round3(median(rounds.map(figure)))
  const problem = rounds.find(({ shoal }) => !shoal.isOk)?.shoal.problem ?? ''
  const isOk = rounds.every(({ shoal }) => shoal.isOk)
  const registryCopies = of(({ copies }) => copies)
  const run = {
    case: name,
    variant: variant.name,
    directSeconds: of(({ direct }) => direct.seconds),
    shoalSeconds: of(({ shoal }) => shoal.seconds),
    directOk: rounds.every(({ direct }) => direct.isOk),
    shoalOk: isOk,
    registryCopies,
    shared: isOk && variant.hosts === 2 && registryCopies <= COPIES_MAX,
    reason: reasonSince(lab, marks) || problem,
  }
  return { run, bar }
}

export function barOf({ canShare, hosts, copiesMax }: FieldVariant): Bar {
  const isHeldToCopies = copiesMax ?? (canShare && hosts === 2 ? COPIES_MAX : undefined)
  return { slackSeconds: SLACK_SECONDS, factor: 1, copiesMax: isHeldToCopies }
}

function pairsFor(variant: FieldVariant, isLong: boolean): number {
  // A command changes what the daemon knows.
  if (isLong || variant.command || variant.ranges) return 1
  return variant.canShare ? QUICK_PAIRS.shared : QUICK_PAIRS.alone
}

async function pullAll(lab: FieldLab, variant: FieldVariant, side: Side, pair: number): Promise<Round> {
  const hosts = Array.from({ length: variant.hosts }, (_, index) => index)
  const ready = await Promise.all(hosts.map((index) => prepare(lab, variant, side, index, pair)))
  const outcomes = await Promise.all(ready.map((pull) => pull()))
  return {
    isOk: outcomes.every(({ isOk }) => isOk),
    seconds: Math.max(...outcomes.map(({ seconds }) => seconds)),
    problem: outcomes.find(({ isOk }) => !isOk)?.problem ?? '',
  }
}

/** Starts whatever the pull needs, so that its time is not counted. */
async function prepare(
  { clients }: FieldLab,
  { registry, image, client, ranges, command }: FieldVariant,
  side: Side,
  index: number,
  pair: number,
): Promise<() => Promise<Outcome>> {
  const reference = referenceTo(image, tagOf(pair), hostOf(registry))
  if (command) {
    const docker = await clients.docker(side, index)
    const { argv, input } = command(reference.name)
    return () => clients.attempt(() => docker.command(argv, input))
  }
  if (ranges) {
    const curl = clients.curl(side, index, registry, client)
    const layer = makeOddImage(image, tagOf(pair)).layers[0]!
    return () =>
      clients.attempt(async () => {
        await curl.manifest(reference)
        for (const [first, last] of ranges) {
          const got = await curl.range(reference, reference.layers[0]!.digest, `${first}-${last}`)
          if (!got.equals(layer.bytes.subarray(first, last + 1))) throw new Error('the bytes are wrong')
        }
      })
  }
  const puller = await clients.client(side, index, registry, client)
  return () => clients.pull(puller, reference)
}

/** Layers' bytes that left the registries for the hosts with Shoal. */
function copiesOf({ odd, shoalAddresses }: FieldLab, { image }: FieldVariant, pair: number): number {
  const { layers } = makeOddImage(image, tagOf(pair))
  const wanted = new Map(layers.map(({ digest, bytes }) => [digest, bytes.length]))
  const size = [...wanted.values()].reduce((sum, bytes) => sum + bytes, 0)
  const sent = odd
    .requests()
    .filter(({ from, digest }) => shoalAddresses.includes(from) && digest !== undefined && wanted.has(digest))
    .reduce((sum, { sentBytes }) => sum + sentBytes, 0)
  return sent / size
}

const tagOf = (pair: number) => `round${pair}`

const round3 = (value: number) => Number(value.toFixed(3))
