import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ClientJob } from '../../../lab/stand-ins/client.ts'
import { pullImage } from '../../../lab/stand-ins/image-transfer.ts'
import { RegistrySession } from '../../../lab/stand-ins/registry-session.ts'

/**
 * The stand-in for Docker on the machine of the pages: `docker pull` through the proxy that the daemon read at its last start,
 * trusting what certs.d has. Whatever else is asked of it fails, as with a daemon that does not run.
 */

const [verb, image = ''] = process.argv.slice(2)
const [, registry, repository, tag] = /^([^/]+)\/(.+):([^:]+)$/.exec(image) ?? []
if (verb !== 'pull' || registry === undefined || repository === undefined || tag === undefined) {
  process.stderr.write('Cannot connect to the Docker daemon: this is a stand-in\n')
  process.exit(1)
}
const certs = `/etc/docker/certs.d/${registry}`
const names = existsSync(certs) ? readdirSync(certs) : []
const { proxy } = JSON.parse(readFileSync('/run/stand-in-units/docker.json', 'utf8')) as { proxy?: string }
const job: ClientJob = {
  ...{ act: 'pull', registry, repository, tag },
  account: JSON.parse(readFileSync(`${process.env.HOME}/account.json`, 'utf8')),
  caFiles: ['/etc/ssl/certs/ca-certificates.crt', ...names.map((name) => join(certs, name))],
  ...(proxy !== undefined && { proxyUrl: proxy }),
  layout: '/var/lib/stand-in-docker',
}
mkdirSync(job.layout, { recursive: true })
const session = new RegistrySession(job)
await pullImage(session, job).finally(() => session.close())
process.stdout.write(`Status: pulled ${image} ${proxy === undefined ? 'directly' : `through ${proxy}`}\n`)
