import { pino } from 'pino'
import { trackerConfig } from '../../tracker/config.ts'
import { firstFreeRun } from '../../tracker/handout/leases.ts'
import { startTracker } from '../../tracker/main.ts'

/** A tracker in a process of its own, for tests that kill it. Reads its config as JSON, prints its addresses. */
const config = trackerConfig.parse(JSON.parse(process.argv[2]!))
const tracker = await startTracker(config, pino({ level: 'silent' }), {
  leasePolicy: firstFreeRun(),
  probePauseMs: 0,
})
const cluster = process.argv[3]
if (cluster !== undefined) await tracker.createCluster(JSON.parse(cluster))
const { address, adminAddress } = tracker
process.stdout.write(`${JSON.stringify({ address, adminAddress })}\n`)
