import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeAuthority } from '../../core/issue-certificate.ts'
import { openRegistries, type RegistryClient } from '../../core/registry-client.ts'
import { type RegistryConfig, registryConfig } from '../../core/registry-config.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { issueForLocalhost } from '../../lab/machine/localhost-certificate.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import type { TestBlob } from './test-cluster.ts'

/** Debian's docker-registry as a process, over TLS on loopback. */
export interface DockerRegistry {
  config: RegistryConfig
  isRunning(): boolean
  /** @param authorization the header; that of the user unless given */
  push(blob: TestBlob, authorization?: string): Promise<void>
  close(): Promise<void>
}

export async function startDockerRegistry(options: {
  kind: RegistryConfig['kind']
  /** A line of an htpasswd file (bcrypt), and the Authorization header of its user; absent: no authentication. */
  user?: { line: string; authorization: string }
  /** Signed tokens: what their signing key's certificate is verified with. */
  tokenBundlePem?: string
}): Promise<DockerRegistry> {
  const folder = mkdtempSync(join(tmpdir(), 'shoal-docker-registry-'))
  const inFolder = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const authority = await makeAuthority({ commonName: 'test authority', validForSeconds: 3600 })
  const leaf = await issueForLocalhost(authority)
  const port = await freePort()
  const tls = {
    certificate: inFolder('tls.crt', leaf.certificatePem),
    key: inFolder('tls.key', leaf.privateKeyPem),
  }
  const user = options.user
  const settings = {
    version: 0.1,
    log: { level: 'error' },
    // Storage in memory copies the whole upload at every write: pushes would take time by the square of their length.
    storage: { filesystem: { rootdirectory: join(folder, 'storage') } },
    http: { addr: `127.0.0.1:${port}`, tls },
    ...(options.tokenBundlePem !== undefined && {
      auth: {
        token: {
          realm: 'https://token.example/token',
          service: 'registry',
          issuer: 'token server',
          rootcertbundle: inFolder('token-bundle.pem', options.tokenBundlePem),
        },
      },
    }),
    ...(user && { auth: { htpasswd: { realm: 'test', path: inFolder('htpasswd', `${user.line}\n`) } } }),
  }
  const file = inFolder('config.yml', JSON.stringify(settings))
  const process = spawn('docker-registry', ['serve', file], { stdio: 'ignore' })
  const caFile = inFolder('ca.pem', authority.certificatePem)
  const config = registryConfig.parse({ host: `localhost:${port}`, caFile, kind: options.kind })
  const client = openRegistries([config]).get(config.host)!
  await untilItAnswers(client)
  return {
    config,
    isRunning: () => process.exitCode === null && process.signalCode === null,
    push: (blob, authorization = user?.authorization) => push(client, blob, authorization),
    async close() {
      await client.close()
      if (process.exitCode === null) {
        const ended = once(process, 'exit')
        process.kill()
        await ended
      }
      rmSync(folder, { recursive: true })
    },
  }
}

async function untilItAnswers({ dispatcher }: RegistryClient): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const answer = await dispatcher.request({ method: 'GET', path: '/v2/' }).catch(() => undefined)
    await answer?.body.dump()
    if (answer !== undefined) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error('docker-registry did not start')
}

async function push({ dispatcher }: RegistryClient, blob: TestBlob, authorization?: string): Promise<void> {
  const headers = authorization === undefined ? {} : { authorization }
  const begun = await dispatcher.request({
    method: 'POST',
    path: `/v2/${REPOSITORY}/blobs/uploads/`,
    headers,
  })
  await begun.body.dump()
  const location = new URL(String(begun.headers.location))
  location.searchParams.set('digest', blob.digest)
  const done = await dispatcher.request({
    method: 'PUT',
    path: location.pathname + location.search,
    headers: { ...headers, 'content-type': 'application/octet-stream' },
    body: blob.bytes,
  })
  await done.body.dump()
  if (done.statusCode !== 201) throw new Error(`the push was answered with ${done.statusCode}`)
}
