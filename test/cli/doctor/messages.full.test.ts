import { createServer as createHttpServer } from 'node:http'
import { describe, expect, test } from 'vitest'
import { issueLeaf, makeAuthority } from '../../../core/issue-certificate.ts'
import { alwaysStatus } from '../../core/test-registry.ts'
import { freezablePort } from '../../pull/freezable-port.ts'
import { Seeds } from './seeds.ts'
import { faultsOf, useWorld, type World } from './world.ts'

/** What once misled operators, made to happen again on a node: what its status says, and what the doctor says. */

let world: World
let seeds: Seeds
useWorld((made) => {
  world = made
  seeds = new Seeds(made)
  return seeds
})

interface Row {
  what: string
  /** @returns settings of the node that is started, if another is needed */
  seed: () => Promise<Record<string, unknown> | undefined> | Record<string, unknown> | undefined
  /** Once the node runs. */
  afterwards?: () => unknown
  /** Codes of the node's conditions. */
  status: string[]
  /** As `faultsOf`. */
  doctor: string[]
  /** Words of the doctor. */
  says: RegExp
}

const both = async (config: object) => ({ registries: seeds.both(config).settings.registries })

const ROWS: Row[] = [
  {
    what: 'the authority of the registry only in certs.d',
    seed: async () => {
      const { host, authority } = await seeds.registry()
      world.write(`certs.d/${host}/ca.crt`, authority.certificatePem)
      return both({ host })
    },
    status: ['REGISTRY_NOT_AT_TRACKER'],
    doctor: ['registries REGISTRY_NOT_AT_TRACKER'],
    says: /answers and is verified/,
  },
  {
    what: 'a second machine without the settings of the registry',
    seed: () => ({ registries: [] }),
    status: ['NO_REGISTRIES', 'REGISTRY_NOT_CONSENTED'],
    doctor: ['registries NO_REGISTRIES'],
    says: /--registries/,
  },
  {
    what: 'a registry that speaks plain HTTP',
    seed: async () =>
      both({
        host: `localhost:${await seeds.listens(createHttpServer((_request, response) => response.end()))}`,
      }),
    status: ['REGISTRY_NOT_AT_TRACKER', 'REGISTRY_PLAIN_HTTP'],
    doctor: ['registries REGISTRY_NOT_AT_TRACKER', 'registries REGISTRY_PLAIN_HTTP'],
    says: /the registry speaks plain HTTP/,
  },
  {
    what: 'a registry without authentication',
    seed: async () => both((await seeds.registry(alwaysStatus(200))).config),
    status: ['REGISTRY_NOT_AT_TRACKER'],
    doctor: ['registries REGISTRY_NOT_AT_TRACKER'],
    says: /strangers may ask it/,
  },
  {
    what: 'passwords instead of tokens',
    seed: async () =>
      both((await seeds.registry(alwaysStatus(401, { 'www-authenticate': 'Basic realm="x"' }))).config),
    status: ['REGISTRY_NOT_AT_TRACKER'],
    doctor: ['registries REGISTRY_NOT_AT_TRACKER'],
    says: /it wants a user and a password/,
  },
  {
    what: 'the CA of another tracker',
    seed: async () => {
      const { certificatePem } = await makeAuthority({ commonName: 'another', validForSeconds: 600 })
      return { trackerCaFile: world.write('wrong-ca.pem', certificatePem) }
    },
    status: ['NOT_JOINED'],
    doctor: ['joined NOT_JOINED', 'tracker TRACKER_UNVERIFIED'],
    says: /--tracker-ca-file/,
  },
  {
    what: 'a node that has not joined',
    seed: () => ({ joinTokenFile: undefined }),
    status: ['NOT_JOINED'],
    doctor: ['joined NOT_JOINED'],
    says: /shoal join/,
  },
  {
    what: 'a frozen tracker',
    seed: async () => {
      const port = await freezablePort(Number(new URL(String(world.settings.trackerUrl)).port))
      seeds.after(() => port.close())
      freeze = () => port.freeze()
      return { trackerUrl: `https://localhost:${port.port}` }
    },
    afterwards: () => freeze(),
    status: ['TRACKER_SILENT'],
    doctor: ['tracker TRACKER_UNREACHED'],
    says: /no answer in time/,
  },
  {
    what: 'a peer port that nobody reaches',
    seed: () => ({ peerListen: '127.0.0.2:0' }),
    status: ['PORT_UNREACHED'],
    doctor: ['port PORT_UNREACHED'],
    says: /127\.0\.0\.1 port \d+: the tracker does not reach this node/,
  },
  {
    what: 'a clock that is off',
    seed: async () => {
      const authority = await makeAuthority({ commonName: 'any', validForSeconds: 3600 })
      const { certificatePem: cert, privateKeyPem: key } = await issueLeaf(authority, {
        ...{ commonName: 'localhost', validForSeconds: -10, usages: ['serverAuth'] },
        names: [{ type: 'dns', value: 'localhost' }],
      })
      const date = new Date(Date.now() - 3 * 3_600_000).toUTCString()
      const { host } = await seeds.registry(alwaysStatus(401, { date }), { cert, key })
      return both({ host, caFile: world.write('row-ca.pem', authority.certificatePem) })
    },
    status: ['CLOCK_SKEWED', 'REGISTRY_NOT_AT_TRACKER', 'REGISTRY_UNVERIFIED'],
    doctor: ['clock CLOCK_SKEWED', 'registries REGISTRY_NOT_AT_TRACKER', 'registries REGISTRY_UNVERIFIED'],
    says: /this clock is 3 h ahead of that of localhost/,
  },
]

let freeze = () => undefined as unknown

async function statusCodes(): Promise<string[]> {
  const { conditions } = (await world.ask('GET', '/v1/status')) as { conditions: { code: string }[] }
  return [...new Set(conditions.map(({ code }) => code))].sort()
}

describe('an operator who', () => {
  test.each(ROWS)('meets $what', async ({ seed, afterwards, status, doctor, says }) => {
    const settings = await seed()
    await world.startFresh(settings)
    await afterwards?.()
    await expect.poll(statusCodes, { timeout: 15_000 }).toEqual(status)
    const reports = await world.diagnose()
    expect([...new Set(faultsOf(reports))].sort()).toEqual(doctor)
    const words = reports.flatMap(({ findings }) =>
      findings.flatMap((one) => [one.text, one.detail, one.remedy]),
    )
    expect(words.join('\n')).toMatch(says)
  })
})
