import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { FieldCase } from '../../bench/field/field-case.ts'
import { measureVariant } from '../../bench/field/measure-case.ts'
import { partsOf } from '../../bench/field/measure-cases.ts'
import { type Bar, problemOf } from '../../bench/field/verdict.ts'
import { FIELD_PARTS, type FieldLab, openFieldLab } from '../../lab/field/field-lab.ts'
import { remainsOf } from '../../lab/machine/leftovers.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { NOT_YET } from './not-yet.ts'

/** A pull that hangs has failed; the slowest of the quick ones takes 20 s. */
const PATIENCE_MS = 45_000
/** Half-way between one copy and two; the benchmark holds to 1.1. */
const COPIES_MAX = 1.5
/** A pull that waits out a patience of ten seconds fails here, also on a busy machine; the benchmark holds to half a second. */
const SLACK_SECONDS = 8

/** Meets each of the cases once: as well as without Shoal, byte by byte, and shared where two hosts can share. */
export function tellCases(cases: readonly FieldCase[]): void {
  describe.skipIf(mustSkipFor(FIELD_PARTS))(`registries in the field (${cases[0]!.name} and others)`, () => {
    let lab: FieldLab
    beforeAll(async () => {
      lab = await openFieldLab({ ...partsOf([...cases]), patienceMs: PATIENCE_MS })
    })
    afterAll(async () => {
      await lab?.close()
      if (lab) expect(remainsOf(lab.run.id)).toEqual([])
    })

    for (const one of cases) {
      describe(one.about, () => {
        test.each(one.variants)('$name', async (variant) => {
          const { run, bar } = await measureVariant(lab, one, variant, { pairs: 1 })
          const key = `${one.name}/${variant.name}`
          expect([key, run.directOk]).toEqual([key, variant.fails !== true])
          if (variant.fails) expect([key, run.shoalOk]).toEqual([key, false])
          const problem = problemOf(run, barOfTests(bar))
          const expected = NOT_YET[key]
          expect({ ...run, problem }).toEqual({ ...run, problem: expected })
        })
      })
    }
  })
}

function barOfTests(bar: Bar): Bar {
  const isDefault = bar.copiesMax !== undefined && bar.copiesMax > 1
  return { ...bar, slackSeconds: SLACK_SECONDS, copiesMax: isDefault ? COPIES_MAX : bar.copiesMax }
}
