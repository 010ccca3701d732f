import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { afterAll, beforeAll, expect } from 'vitest'
import { APP, LAYER, SMALL, startWorld, type TestNode, type World } from '../tracker/test-tracker.ts'
import { attackTest } from './ledger.ts'
import { loot } from './loot.ts'

/** A member who wants the tracker to fetch for it: from inside its network, or from another place of the registry. */
let world: World
let node: TestNode
let inside: Server
let insideAt: string
let connections = 0
let redirectTo: string | undefined

/** How often the tracker has logged the code so far. */
const countOf = (code: string) => world.logged().split(`"code":"${code}"`).length - 1

beforeAll(async () => {
  inside = createServer((socket) => {
    connections += 1
    // What the tracker says in there is what the attacker could have it say.
    socket.on('data', (chunk) => {
      loot.bytes += chunk.length
      socket.destroy()
    })
    socket.on('error', () => undefined)
  }).listen(0, '127.0.0.1')
  await once(inside, 'listening')
  insideAt = `127.0.0.1:${(inside.address() as AddressInfo).port}`
  world = await startWorld()
  const honest = world.registry.door
  world.registry.door = (request, response) => {
    if (redirectTo === undefined) return honest(request, response)
    response.writeHead(307, { location: redirectTo, 'content-length': LAYER.bytes }).end()
  }
  node = await world.joined(await world.makeCluster())
  // From here on the token's key is trusted, so that refusals are for what the attack is.
  expect((await node.pull()).status).toBe(200)
})
afterAll(async () => {
  await world?.close()
  inside?.close()
})

attackTest('a registry that is not configured is not contacted, however it is written', async () => {
  const asked = world.registry.requests.length
  const port = insideAt.split(':')[1]!
  for (const registry of [
    insideAt,
    `localhost:${port}`,
    `[::ffff:7f00:1]:${port}`,
    `${world.registry.host}@${insideAt}`,
    `${insideAt}/${world.registry.host}`,
    `${insideAt}#${world.registry.host}`,
    `https://${insideAt}`,
    `${world.registry.host}.`,
    '169.254.169.254',
    '',
  ]) {
    const { status, body } = await node.pull({ registry })
    expect([registry, [400, 404].includes(status)]).toEqual([registry, true])
    expect(['REGISTRY_UNKNOWN', 'INVALID_INPUT']).toContain(body.error.code)
    expect(countOf(body.error.code)).toBeGreaterThan(0)
  }
  expect(connections).toBe(0)
  expect(world.registry.requests.length).toBe(asked)
})

for (const repository of [
  '../../admin',
  'team/../../v2/_catalog',
  'team/app/../other',
  'team//app',
  'team//../app',
  '/team/app',
  'team/app/',
  'team/app?x=1',
  'team/app#',
  'team/app%2f..%2fother',
  'team/app\r\nHost: 127.0.0.1',
  'team\\app',
  '@127.0.0.1/app',
  'team/app\0',
  'Team/App',
  `${'a/'.repeat(127)}ab`,
]) {
  attackTest(`the repository ${JSON.stringify(repository.slice(0, 30))} reaches no registry`, async () => {
    const asked = world.registry.requests.length
    const loggedBefore = countOf('INVALID_INPUT')
    const { status, body } = await node.pull({ repository })
    expect([status, body.error.code]).toEqual([400, 'INVALID_INPUT'])
    expect(countOf('INVALID_INPUT')).toBe(loggedBefore + 1)
    expect([world.registry.requests.length, connections]).toEqual([asked, 0])
  })
}

for (const digest of [
  `${LAYER.digest}/../../../team/other/blobs/x`,
  `sha256:${'B'.repeat(64)}`,
  `sha256:${'b'.repeat(63)}`,
  `md5:${'b'.repeat(32)}`,
  `sha256:../../../${'b'.repeat(55)}`,
  `${LAYER.digest}\r\nX: y`,
  `${LAYER.digest}?x`,
]) {
  attackTest(
    `the digest ${JSON.stringify(digest.slice(0, 30))}… (${digest.length}) reaches no registry`,
    async () => {
      const asked = world.registry.requests.length
      const loggedBefore = countOf('INVALID_INPUT')
      const { status, body } = await node.pull({ blobs: [{ ...LAYER, digest, isWanted: true }] })
      expect([status, body.error.code]).toEqual([400, 'INVALID_INPUT'])
      expect(countOf('INVALID_INPUT')).toBe(loggedBefore + 1)
      expect([world.registry.requests.length, connections]).toEqual([asked, 0])
    },
  )
}

attackTest('swarm and pull ids that are paths are no ids', async () => {
  for (const id of ['..%2f..%2fadmin', '%00', 'a'.repeat(41), '../clusters']) {
    const { status } = await node.heartbeat().then(() => node.hashes(id, {}))
    expect([400, 404]).toContain(status)
    expect([403, 404]).toContain((await node.post(`/v1/pulls/${id}/renew`, {})).status)
  }
})

attackTest('a registry that redirects is not followed: nothing inside is contacted', async () => {
  for (const scheme of ['http', 'https']) {
    redirectTo = `${scheme}://${insideAt}/v2/${APP}/blobs/${SMALL.digest}`
    const asked = world.registry.requests.length
    await node.pull({ blobs: [{ ...SMALL, bytes: LAYER.bytes, isWanted: true }] })
    // The second time the answer may be remembered.
    if (scheme === 'http') expect(world.registry.requests.length).toBeGreaterThan(asked)
  }
  redirectTo = undefined
  expect(connections).toBe(0)
})

attackTest(
  'a token that names its own key server, or embeds a link to one, has nothing fetched',
  async () => {
    const asked = world.registry.requests.length
    const link = `http://${insideAt}/jwks`
    for (const header of [{ jku: link }, { x5u: link }, { kid: link }]) {
      const token = world.signer.sign({ access: [] }, header)
      await node.pull({ credential: { scheme: 'bearer', token } })
    }
    expect(connections).toBe(0)
    // What the tracker may ask is the configured registry alone.
    for (const { line } of world.registry.requests.slice(asked)) expect(line).toContain(`/v2/${APP}/`)
  },
)

attackTest('after all this the tracker is alive, and grants what is due', async () => {
  expect((await node.pull()).status).toBe(200)
  expect(connections).toBe(0)
})
