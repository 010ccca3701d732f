import { openFieldLab } from '../../lab/field/field-lab.ts'
import type { LabRun } from '../../lab/machine/run.ts'
import type { FieldCase } from './field-case.ts'
import { measureVariant } from './measure-case.ts'
import type { HeldRun } from './report.ts'

/** A pull that takes longer has failed: the slowest direct one takes 80 s. */
const PATIENCE_MS = 120_000

export interface CasesOptions {
  /** Undefined: as many as suit each variant. */
  pairs: number | undefined
  onHeld: (held: HeldRun) => void
  onRun: (run: LabRun) => void
}

/** One lab for all, and one for those behind a proxy. */
export async function measureCases(cases: readonly FieldCase[], options: CasesOptions): Promise<HeldRun[]> {
  const groups = [cases.filter((one) => !one.isBehindProxy), cases.filter((one) => one.isBehindProxy)]
  const measured: HeldRun[] = []
  for (const group of groups) if (group.length > 0) measured.push(...(await measureGroup(group, options)))
  return measured
}

async function measureGroup(cases: FieldCase[], { pairs, onHeld, onRun }: CasesOptions): Promise<HeldRun[]> {
  const lab = await openFieldLab({ ...partsOf(cases), patienceMs: PATIENCE_MS, onRun })
  try {
    const measured: HeldRun[] = []
    for (const one of cases) {
      const measure = async (variant: FieldCase['variants'][number]) => {
        const held = await measureVariant(lab, one, variant, { pairs })
        onHeld(held)
        return held
      }
      if (one.isLong) measured.push(...(await Promise.all(one.variants.map(measure))))
      else for (const variant of one.variants) measured.push(await measure(variant))
    }
    return measured
  } finally {
    await lab.close()
  }
}

/** What a lab for these cases needs. */
export function partsOf(cases: FieldCase[]) {
  return {
    registries: cases.flatMap(({ registries }) => registries),
    images: cases.flatMap(({ variants }) => variants.map(({ image }) => image)),
    isBehindProxy: cases.some(({ isBehindProxy }) => isBehindProxy),
  }
}
