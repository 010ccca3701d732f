import { tmpdir } from 'node:os'
import { expect, test } from 'vitest'
import { cacheRoom, defaultRoomOn } from '../../node/cache-options.ts'
import { nodeConfig } from '../../node/config.ts'

const GIB = 2 ** 30
const MIB = 2 ** 20

test.each([
  ['a large disk', 1000 * GIB, { cacheBytesMax: 20 * GIB, diskReserveBytes: 200 * GIB }],
  ['a small one', 100 * GIB, { cacheBytesMax: 10 * GIB, diskReserveBytes: 20 * GIB }],
  ['a tiny one', 1 * GIB, { cacheBytesMax: Math.floor(GIB / 10), diskReserveBytes: 256 * MIB }],
])('on %s the cache takes a tenth, 20 GiB at most, and leaves a fifth free', (_disk, bytes, room) => {
  expect(defaultRoomOn(bytes)).toEqual(room)
})

test('a size that is set counts alone', () => {
  const settings = { trackerUrl: 'https://tracker.example', dataDir: tmpdir() }
  const set = nodeConfig.parse({ ...settings, cacheBytesMax: 5 * MIB })
  expect(cacheRoom(set)).toEqual({ cacheBytesMax: 5 * MIB, diskReserveBytes: 256 * MIB })
  const { cacheBytesMax } = cacheRoom(nodeConfig.parse(settings))
  expect(cacheBytesMax).toBeGreaterThan(0)
  expect(cacheBytesMax).toBeLessThanOrEqual(20 * GIB)
})
