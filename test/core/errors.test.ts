import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import { connect } from 'node:net'
import { expect, it } from 'vitest'
import { ConfigError } from '../../core/config.ts'
import { reasonOf } from '../../core/errors.ts'
import { freePort } from '../../lab/machine/free-port.ts'

it('what the system says of a connection is put into words, with its code', async () => {
  const port = await freePort()
  const refused = await once(connect(port, '127.0.0.1'), 'connect').catch((error: unknown) => error)
  expect(reasonOf(refused)).toBe(`127.0.0.1:${port} refuses connections (ECONNREFUSED)`)
  expect(reasonOf(new ConfigError('no answer', { cause: refused }))).toBe(
    `no answer: 127.0.0.1:${port} refuses connections (ECONNREFUSED)`,
  )
})

it('a name that cannot be resolved is said to be that', async () => {
  const unknown = await lookup('registry.invalid').catch((error: unknown) => error)
  expect(reasonOf(unknown)).toMatch(
    /^no name server (knows registry\.invalid \(ENOTFOUND\)|answered for registry\.invalid \(EAI_AGAIN\))$/,
  )
})
