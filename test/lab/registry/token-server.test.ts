import { X509Certificate } from 'node:crypto'
import { request } from 'node:https'
import { decodeProtectedHeader, importX509, jwtVerify } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type KeyedCertificate, makeAuthority } from '../../../core/issue-certificate.ts'
import { issueForLocalhost } from '../../../lab/machine/localhost-certificate.ts'
import { makeTokenSigningKey, type TokenAlgorithm } from '../../../lab/registry/token-authority.ts'
import { startTokenServer } from '../../../lab/registry/token-server.ts'

const SERVICE = 'registry.shoal.test'
const users = { anna: { password: 'geheim', access: { 'team/app': ['pull'] } } }
let authority: KeyedCertificate
let tls: KeyedCertificate
const servers: { close(): Promise<void> }[] = []

beforeAll(async () => {
  authority = await makeAuthority({ commonName: 'test', validForSeconds: 3600 })
  tls = await issueForLocalhost(authority)
})
afterAll(() => Promise.all(servers.map((server) => server.close())))

async function serve(algorithm: TokenAlgorithm) {
  const signingKey = await makeTokenSigningKey(algorithm)
  const server = await startTokenServer({
    ...{ listen: { host: '127.0.0.1', port: 0 }, tls, signingKey, users },
    ...{ issuer: 'Test', service: SERVICE, tokenSeconds: 90 },
  })
  servers.push(server)
  return { signingKey, port: server.address.port }
}

interface Answer {
  status: number
  body: { token: string; expires_in: number; errors: { code: string }[] }
}

function ask(port: number, query: string, credentials?: string, method = 'GET'): Promise<Answer> {
  const options = { host: 'localhost', port, path: `/token?${query}`, method, ca: authority.certificatePem }
  return new Promise((resolve, reject) => {
    const asking = request(
      { ...options, ...(credentials === undefined ? {} : { auth: credentials }) },
      (response) => {
        let body = ''
        response.on('data', (chunk) => {
          body += chunk
        })
        response.on('end', () => resolve({ status: response.statusCode!, body: JSON.parse(body) }))
      },
    )
    asking.on('error', reject).end()
  })
}

const scope = `service=${SERVICE}&scope=repository:team/app:pull,push`

test.each(['ES256', 'RS256'] as const)(
  'a token signed with %s says what its holder may do and no more',
  async (algorithm) => {
    const { signingKey, port } = await serve(algorithm)
    const { body } = await ask(port, scope, 'anna:geheim')
    const [certificate] = decodeProtectedHeader(body.token).x5c!
    expect(certificate).toBe(new X509Certificate(signingKey.certificatePem).raw.toString('base64'))
    const key = await importX509(signingKey.certificatePem, algorithm)
    const { payload } = await jwtVerify(body.token, key, {
      issuer: 'Test',
      audience: SERVICE,
      subject: 'anna',
    })
    expect(payload.access).toEqual([{ type: 'repository', name: 'team/app', actions: ['pull'] }])
    expect(payload.exp! - payload.iat!).toBe(90)
    expect(payload.jti).toBeTypeOf('string')
    expect(body.expires_in).toBe(90)
  },
)

test('a caller without credentials gets a token that grants nothing; one with wrong ones gets none', async () => {
  const { port } = await serve('ES256')
  const anonymous = await ask(port, scope)
  expect(JSON.parse(Buffer.from(anonymous.body.token.split('.')[1]!, 'base64url').toString()).access).toEqual(
    [],
  )
  for (const credentials of ['anna:falsch', 'nobody:geheim', '__proto__:x', 'anna:']) {
    expect(await ask(port, scope, credentials)).toMatchObject({
      status: 401,
      body: { errors: [{ code: 'UNAUTHORIZED' }] },
    })
  }
})

test('a token for another service, or by POST, is refused', async () => {
  const { port } = await serve('ES256')
  expect(await ask(port, 'service=elsewhere', 'anna:geheim')).toMatchObject({ status: 400 })
  expect(await ask(port, scope, 'anna:geheim', 'POST')).toMatchObject({ status: 405 })
})
