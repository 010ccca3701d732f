import pino from 'pino'
import { afterEach, expect, test, vi } from 'vitest'
import { Blocks } from '../../../client/membership/blocks.ts'
import { Heartbeat, type HeartbeatHost } from '../../../client/membership/heartbeat.ts'
import { Defects } from '../../../core/defects.ts'
import { NOWHERE } from '../../../core/location.ts'

/** How long the tracker takes to answer. */
const ANSWER_MS = 5

let heartbeat: Heartbeat
afterEach(() => heartbeat.close())

/** A tracker that counts heartbeats, and a node with nothing to tell. */
function started(): { sent: () => number } {
  const log = pino({ level: 'silent' })
  const answer = { wantsFullInventory: false, nextInMs: 60_000, serveCertificate: null }
  const beat = vi.fn(async () => {
    await new Promise((resolve) => setTimeout(resolve, ANSWER_MS))
    return answer
  })
  const nothing = () => undefined
  heartbeat = new Heartbeat({
    tracker: { heartbeat: beat },
    trust: { update: nothing, revoke: nothing, isOutdated: () => false, blocks: new Blocks() },
    settings: { update: nothing },
    location: () => NOWHERE,
    links: { heard: nothing, heartbeatFields: {} },
    ...{ log, defects: new Defects({ log, count: nothing }) },
    ...{ listenPort: () => 1, holds: () => [], wantsPeers: () => [], takeBadPeers: () => [] },
    ...{ onAnswer: nothing, onFailed: nothing },
  } as unknown as HeartbeatHost)
  return { sent: () => beat.mock.calls.length }
}

test('a change is told at once; many that follow each other are told together', async () => {
  const { sent } = started()
  await heartbeat.start()
  await new Promise((resolve) => setTimeout(resolve, 150))
  heartbeat.soon()
  await expect.poll(sent, { interval: 1, timeout: 80 }).toBe(2)
  for (let layer = 0; layer < 30; layer += 1) {
    heartbeat.soon()
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  await new Promise((resolve) => setTimeout(resolve, 150))
  expect(sent()).toBeGreaterThanOrEqual(4)
  expect(sent()).toBeLessThanOrEqual(7)
})
