import { Socket } from 'node:net'
import pino from 'pino'
import { expect, test } from 'vitest'
import { closeRegistries, openRegistries } from '../../core/registry-client.ts'
import { registriesConfig } from '../../core/registry-config.ts'
import { answerConnect } from '../../proxy/connect.ts'
import { Rejections } from '../../proxy/intercept/rejections.ts'
import { NEVER_PAUSED } from '../../proxy/pause.ts'
import { noteDefects } from '../core/noted-defects.ts'
import { NoSwarmError } from './fake-client.ts'

/** The machine's client certificate opens the registry to whoever is intercepted: that is root alone. */
test.each([
  ['root', { uid: 0, executable: '/usr/bin/dockerd' }, 'intercepted'],
  ['another user', { uid: 1000, executable: '/usr/bin/curl' }, 'tunnelled'],
  ['somebody that the kernel does not name', undefined, 'tunnelled'],
])('with a client certificate a connection of %s is %s', async (_, owner, outcome) => {
  const outcomes: string[] = []
  const take = (it: string) => async () => {
    outcomes.push(it)
    throw new NoSwarmError('enough')
  }
  const registries = openRegistries(registriesConfig.parse('registry.example'))
  for (const registry of registries.values()) Object.defineProperty(registry, 'hasIdentity', { value: true })
  const parts = {
    registries,
    intercept: { accept: take('intercepted') },
    policy: { check: take('tunnelled') },
    rejections: new Rejections(),
    reach: { isTunnelled: async () => false },
    owners: { ownerOf: async () => owner },
    pause: NEVER_PAUSED,
    metrics: { connectAnswered: () => undefined },
    defects: noteDefects().defects,
    log: pino({ level: 'silent' }),
  } as never
  const request = { url: 'registry.example:443', headers: {} } as never
  await answerConnect(parts, { request, socket: new Socket(), head: Buffer.alloc(0) })
  await closeRegistries(registries)
  expect(outcomes).toEqual([outcome])
})
