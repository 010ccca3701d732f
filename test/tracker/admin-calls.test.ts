import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findEntry } from '../../cli/command-tree.ts'
import { TREE } from '../../cli/tree.ts'
import { isAtLeast, ROLES } from '../../core/admin-api/call.ts'
import { CALL_NAMES, type CallName, callOf, pathOf, split } from '../../core/admin-api/calls.ts'
import { EXAMPLE_CLUSTER, EXAMPLE_NODE } from '../../core/admin-api/fields.ts'
import { openApiDocument } from '../../core/admin-api/openapi.ts'
import { STORE_FILE } from '../../tracker/store/open-store.ts'
import { SqliteDatabase } from '../../tracker/store/sqlite-database.ts'
import { type AdminWorld, startAdminWorld } from './admin-world.ts'
import type { Answer, TestNode } from './test-tracker.ts'

/** Walks the table of calls: every call, every role, every way to ask wrongly. */

let world: AdminWorld
beforeAll(async () => {
  world = await startAdminWorld()
})
afterAll(() => world.close())

const codeOf = ({ status, body }: Answer) => (status < 300 ? 'done' : (body.error.code as string))
const auditLength = async () =>
  (await world.socket('audit.list', { limit: 1 })).body.entries[0]?.sequence as number

describe('the table of calls', () => {
  it('has no two calls alike, and no two fields of one call', () => {
    const places = CALL_NAMES.map(callOf).map(
      ({ method, path }) => `${method} ${path.replaceAll(/:\w+/g, ':')}`,
    )
    expect(new Set(places).size).toBe(CALL_NAMES.length)
    for (const name of CALL_NAMES) {
      const { params, query, body, path } = callOf(name)
      const fields = [params, query, body].flatMap(({ shape }) => Object.keys(shape))
      expect(new Set(fields).size, name).toBe(fields.length)
      expect([...path.matchAll(/:(\w+)/g)].map(([, field]) => field).sort(), name).toEqual(
        Object.keys(params.shape).sort(),
      )
    }
  })

  it('names commands that exist', () => {
    for (const name of CALL_NAMES) {
      for (const line of callOf(name).commands) {
        const found = findEntry(TREE, line.split(' ').slice(1))
        expect(found.entry.command, `${name}: ${line}`).toBeDefined()
        expect(found.oldName, line).toBeUndefined()
      }
    }
  })
})

const WAYS = [...ROLES, 'stranger'] as const

describe.each(CALL_NAMES)('%s', (name) => {
  it.each(WAYS)('over TLS is for those who may: %s', async (way) => {
    const { right } = callOf(name)
    const before = await auditLength()
    // Failed logins are bounded.
    if (way === 'stranger') world.clockOffsetMs += 6_000
    const answer = await world.remote(way, name, callOf(name).example.input)
    const code = codeOf(answer)
    if (right === 'local') expect(code).toBe('ROUTE_UNKNOWN')
    else if (way === 'stranger') expect(code).toBe('LOGIN_REQUIRED')
    else if (!isAtLeast(way, right)) expect(code).toBe('ROLE_TOO_LOW')
    else expect(['ROUTE_UNKNOWN', 'LOGIN_REQUIRED', 'ROLE_TOO_LOW', 'INTERNAL']).not.toContain(code)
    const isRefused = code !== 'done'
    if (isRefused) expect(await auditLength()).toBe(before)
  })

  const one = callOf(name)
  const asked = { method: one.method, path: pathOf(one, one.example.input) }
  const { body } = split(one, one.example.input)
  const takesBody = Object.keys(one.body.shape).length > 0
  const bad: [string, () => Promise<Answer>, string[]][] = [
    [
      'an unknown field in the query',
      () => world.ask(asked.method, withQuery(asked.path, 'x=1'), body),
      ['INVALID_INPUT'],
    ],
    ...(one.method === 'GET'
      ? []
      : ([
          [
            'an unknown field in the body',
            () => world.ask(asked.method, asked.path, { ...body, x: 1 }),
            ['INVALID_INPUT'],
          ],
          ['a list as body', () => world.ask(asked.method, asked.path, []), ['INVALID_INPUT']],
          ['half a body', () => world.ask(asked.method, asked.path, '{"x":'), ['BAD_JSON']],
          [
            'a body of a megabyte',
            () => world.ask(asked.method, asked.path, { x: 'a'.repeat(1024 * 1024) }),
            ['BODY_TOO_LARGE'],
          ],
          [
            'a body of many values',
            () => world.ask(asked.method, asked.path, `[${'[],'.repeat(10_000)}[]]`),
            ['BODY_TOO_LARGE'],
          ],
          [
            'a body that nests too deep',
            () => world.ask(asked.method, asked.path, '['.repeat(50) + ']'.repeat(50)),
            ['BAD_JSON'],
          ],
          [
            'a body of another kind',
            () => world.ask(asked.method, asked.path, '<x/>', { 'content-type': 'text/xml' }),
            ['UNSUPPORTED_MEDIA'],
          ],
        ] as [string, () => Promise<Answer>, string[]][])),
    ...Object.keys(takesBody ? one.body.shape : {}).map(
      (field): [string, () => Promise<Answer>, string[]] => [
        `a hostile ${field} in the body`,
        () => world.ask(asked.method, asked.path, { ...body, [field]: HOSTILE_NAMES }),
        ['INVALID_INPUT'],
      ],
    ),
    ...Object.keys(one.params.shape).flatMap((field) =>
      HOSTILE_NAMES.map((text): [string, () => Promise<Answer>, string[]] => [
        `${field} ${JSON.stringify(text.slice(0, 20))} in the path`,
        () => world.ask(asked.method, pathOf(one, { ...one.example.input, [field]: text }), body),
        ['INVALID_INPUT', 'ROUTE_UNKNOWN', 'BAD_REQUEST', 'ADMIN_TOKEN_UNKNOWN'],
      ]),
    ),
  ]

  it(`refuses what is no input, and changes nothing`, async () => {
    const before = await auditLength()
    for (const [what, act, codes] of bad) expect(codes, what).toContain(codeOf(await act()))
    expect(await auditLength()).toBe(before)
  })
})

const HOSTILE_NAMES = [
  '../../../etc/passwd',
  "'; DROP TABLE nodes; --",
  '<script>alert(1)</script>',
  '\u0000',
  '\u001b[2J',
  '%',
  'a'.repeat(3000),
  '\u202egnp',
  'constructor',
  '__proto__',
]

function withQuery(path: string, more: string): string {
  return `${path}${path.includes('?') ? '&' : '?'}${more}`
}

describe('the examples of the OpenAPI document', () => {
  let world: AdminWorld
  let node: TestNode
  afterAll(() => world.close())
  beforeAll(async () => {
    world = await startAdminWorld()
    await world.makeExampleCluster()
    node = await world.joined({ cluster: EXAMPLE_CLUSTER, joinToken: world.exampleJoinToken } as never)
    expect((await node.pull()).status).toBe(200)
  })

  const settle = async () => {
    world.clockOffsetMs += 60_000
    return {}
  }
  /** What an example needs before it: a real id in the place of the one on paper. */
  const prepare: Partial<Record<CallName, () => Promise<object>>> = {
    'images.inspect': async () => ({ registry: world.registry.host }),
    'swarms.inspect': async () => ({ swarm: (await world.socket('swarms.list', {})).body.swarms[0].swarm }),
    'pulls.inspect': async () => ({ pull: (await world.socket('pulls.list', {})).body.pulls[0].pull }),
    'joinTokens.withdraw': async () => {
      const added = await world.socket('joinTokens.create', {
        cluster: EXAMPLE_CLUSTER,
        hash: 'c'.repeat(64),
      })
      return { token: added.body.joinToken.id }
    },
    'authorities.withdraw': settle,
    'signingKeys.withdraw': settle,
    'revocations.clear': async () => {
      const [first] = (await world.socket('revocations.list', {})).body.revocations
      return { revocation: first.sequence }
    },
    'tokenKeys.withdraw': async () => ({
      id: (await world.socket('tokenKeys.list', {})).body.tokenKeys[0].id,
    }),
    'restore.confirm': async () => {
      const db = new SqliteDatabase(join(world.dataDir, STORE_FILE))
      db.run('INSERT INTO restores VALUES (?, ?, 0, NULL)', Date.now(), Date.now())
      db.close()
      return {}
    },
    'keys.reseal': async () => ({ unlockKey: readFileSync(world.config.unlockKeyFile!, 'utf8').trim() }),
  }

  it.each(CALL_NAMES)('run: %s', async (name) => {
    const one = callOf(name)
    const changes = { ...(await prepare[name]?.()) }
    const input = Object.fromEntries(
      Object.entries({ ...one.example.input, ...changes }).map(([key, value]) => [
        key,
        value === EXAMPLE_NODE ? node.node : value,
      ]),
    )
    const { status, body } = await world.socket(name, input)
    expect([status, body.error]).toEqual([one.status, undefined])
    if (one.isStream) expect(body).toMatch(/^event: fleet\nid: \d+\ndata: \{.*\}\n\n/)
    else expect(one.answer.parse(body)).toEqual(body)
  })

  it('are in the document, which is served, with a role for each call', async () => {
    const { status, body } = await world.ask('GET', '/admin/v1/openapi.json')
    expect(status).toBe(200)
    expect(body).toEqual(JSON.parse(JSON.stringify(openApiDocument())))
    expect(body.openapi).toBe('3.1.0')
    const operations = Object.values(body.paths).flatMap((path) => Object.values(path as object))
    expect(operations.map(({ operationId }) => operationId).toSorted()).toEqual([...CALL_NAMES].toSorted())
    for (const operation of operations) {
      expect([...ROLES, 'local']).toContain(operation['x-shoal-role'])
      const { schema, example } = operation.requestBody?.content['application/json'] ?? {}
      if (schema !== undefined)
        expect(Object.keys(schema.properties)).toEqual(expect.arrayContaining(Object.keys(example)))
    }
    expect(JSON.stringify(body)).not.toMatch(/"\$ref":"#\/\$defs/)
  })
})
