import { pino } from 'pino'
import { expect, test } from 'vitest'
import { PeerRefusedError } from '../../../client/errors.ts'
import { PEER_LINES_PER_MINUTE_MAX, PEER_LINES_SOURCES_MAX, PeerLog } from '../../../client/peer/peer-log.ts'

test('who is refused again and again gets a bounded number of lines a minute, and the next one counts the rest', () => {
  const lines: { source: string; leftOut?: number }[] = []
  const log = pino({}, { write: (line) => void lines.push(JSON.parse(line)) })
  let nowMs = 0
  const peers = new PeerLog(log, () => nowMs)
  const refuse = (source: string) =>
    peers.tell(source, new PeerRefusedError('no proof'), { source }, 'refused')
  for (let times = 0; times < 1000; times += 1) refuse('one')
  refuse('other')
  expect(lines.filter(({ source }) => source === 'one')).toHaveLength(PEER_LINES_PER_MINUTE_MAX)
  expect(lines.at(-1)).toMatchObject({ source: 'other', level: 40, code: 'PEER_REFUSED' })
  expect(lines.some(({ leftOut }) => leftOut !== undefined)).toBe(false)
  nowMs += 60_000
  for (let times = 0; times < 1000; times += 1) refuse('one')
  expect(lines).toHaveLength(2 * PEER_LINES_PER_MINUTE_MAX + 1)
  expect(lines[PEER_LINES_PER_MINUTE_MAX + 1]!.leftOut).toBe(1000 - PEER_LINES_PER_MINUTE_MAX)
  expect(lines.at(-1)!.leftOut).toBeUndefined()
})

test('the addresses that it counts are bounded', () => {
  let lines = 0
  const write = () => {
    lines += 1
  }
  const peers = new PeerLog(pino({}, { write }), () => 0)
  const reason = new PeerRefusedError('no proof')
  for (let source = 0; source <= PEER_LINES_SOURCES_MAX; source += 1)
    for (let times = 0; times <= PEER_LINES_PER_MINUTE_MAX; times += 1)
      peers.tell(String(source), reason, {}, 'refused')
  expect(lines).toBe((PEER_LINES_SOURCES_MAX + 1) * PEER_LINES_PER_MINUTE_MAX)
  peers.tell('0', new PeerRefusedError('no proof'), {}, 'refused')
  expect(lines).toBe((PEER_LINES_SOURCES_MAX + 1) * PEER_LINES_PER_MINUTE_MAX + 1)
})
