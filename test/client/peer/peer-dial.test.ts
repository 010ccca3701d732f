import { createSecureContext } from 'node:tls'
import { expect, test } from 'vitest'
import { dialNode } from '../../../client/peer/peer-dial.ts'
import type { NodeId } from '../../../core/metainfo.ts'
import { freePort } from '../../../lab/machine/free-port.ts'
import { noteDefects } from '../../core/noted-defects.ts'

test('a dial that nobody answers fails once: an address that fails twice is left alone for longer', async () => {
  const told: [string | undefined, boolean][] = []
  const peer = { node: 'n'.repeat(40) as NodeId, address: '127.0.0.1', port: await freePort(), isSeed: false }
  dialNode(peer, {
    parts: { defects: noteDefects().defects } as never,
    credential: { context: createSecureContext() } as never,
    onLink: () => expect.unreachable(),
    onLate: () => undefined,
    onFailed: (error: NodeJS.ErrnoException, isReached) => void told.push([error.code, isReached]),
  })
  await expect.poll(() => told.length, { timeout: 10_000 }).toBe(1)
  // The connection's end comes after its error.
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(told).toEqual([['ECONNREFUSED', false]])
})
