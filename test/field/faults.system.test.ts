import { describe, expect, test } from 'vitest'
import { droppedPeerPort } from '../../bench/field/faults/dropped-peer-port.ts'
import type { Fault } from '../../bench/field/faults/fault.ts'
import { FAULT_PARTS } from '../../bench/field/faults/index.ts'
import { nodeRestart, trackerRestart } from '../../bench/field/faults/restarts.ts'
import { silentTracker } from '../../bench/field/faults/silent-tracker.ts'
import { problemOf } from '../../bench/field/verdict.ts'
import { requirementsFor } from '../../lab/cluster.ts'
import { remainsOf } from '../../lab/machine/leftovers.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { FAULTS_NOT_YET } from './not-yet.ts'

/** Less than any wait of old, and more than a busy machine needs; the benchmark has the bars. */
const SLACK_SECONDS = 4
const FAULTS: Fault[] = [silentTracker, droppedPeerPort, nodeRestart, trackerRestart]

describe.skipIf(mustSkipFor([...requirementsFor(['skopeo']), ...FAULT_PARTS]))('around a pull', () => {
  for (const fault of FAULTS) {
    test(fault.about, async () => {
      const labs: string[] = []
      const held = await fault.measure({ pairs: 1, onRun: ({ id }) => labs.push(id), isSmall: true })
      const problems = held.map(({ run, bar }) => {
        const slackSeconds = Math.max(bar.slackSeconds, SLACK_SECONDS)
        return [`${run.case}/${run.variant}`, problemOf(run, { ...bar, slackSeconds })] as const
      })
      expect(held.every(({ run }) => run.directOk)).toBe(true)
      const expected = problems.map(([key]) => [key, FAULTS_NOT_YET[key]])
      expect({ problems, held }).toEqual({ problems: expected, held })
      expect(labs.flatMap(remainsOf)).toEqual([])
    })
  }
})
