import { execFileSync, spawn } from 'node:child_process'
import { cpSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as wait } from 'node:timers/promises'
import { issueLeaf, makeAuthority } from '../../core/issue-certificate.ts'
import { LabProcesses } from '../../lab/machine/processes.ts'
import { startStandInRegistry } from '../../lab/stand-ins/registry.ts'
import { ROOT } from '../tidy/source-files.ts'
import type { PageLine } from './page-lines.ts'
import { ASKS } from './page-table.ts'

/**
 * The machine of the pages, as a process in namespaces of its own (page-machine.ts): its /etc is a copy, its /var/lib and /run
 * begin empty, its network is loopback. Reads lines from standard input, runs one after the other, and prints what came of it.
 */

export interface LineResult extends PageLine {
  code: number | null
  output: string
  ms: number
}

const REGISTRY = 'registry.example.com'
const IMAGE = `${REGISTRY}/team/app:v1`
const OTHER = 'other.example.com'
const NAMES = [REGISTRY, OTHER, 'tracker.example.com']
const BIN = '/run/bin'
/** What a reader has as clone, and works in. */
const CLONE = '/run/clone'
const LAYERS = [3_000_000, 2_000_000]
const LINE_MS_MAX = 40_000
const ADMIN_SOCKET = '/var/lib/shoal-tracker/admin.sock'
const DAY_S = 86_400
const TRIES_MAX = 20
const TRY_AGAIN_MS = 200
const ENV = {
  PATH: `${BIN}:${process.env.PATH}:/usr/sbin:/sbin`,
  HOME: '/run/home',
  TERM: 'dumb',
  NODE_COMPILE_CACHE: '/run/compile-cache',
  LANG: 'C.UTF-8',
}

const shell = (script: string) => execFileSync('sh', ['-ec', script], { encoding: 'utf8', env: ENV })

shell(`
  mount --make-rprivate /
  ip link set lo up
  mount -t tmpfs none /mnt && cp -a /etc /mnt/etc && mount --bind /mnt/etc /etc
  for folder in /var/lib /run; do mount -t tmpfs none $folder; done
  rm -rf /etc/shoal /etc/docker /etc/containers /etc/containerd /etc/systemd/system
  mkdir -p ${BIN} ${CLONE} /run/home /run/log /run/registry /run/systemd/system /etc/systemd/system /etc/docker
  mkdir -p /var/lib/private/shoal-tracker && ln -s private/shoal-tracker /var/lib/shoal-tracker
  echo '127.0.0.1 ${NAMES.join(' ')}' >> /etc/hosts
`)
for (const name of readdirSync(join(ROOT, 'deploy/systemd')).filter((name) => name.endsWith('.service'))) {
  const unit = readFileSync(join(ROOT, 'deploy/systemd', name), 'utf8')
  writeFileSync(`/etc/systemd/system/${name}`, unit.replaceAll('/usr/bin/shoal', `${BIN}/shoal`))
}
writeFileSync('/etc/systemd/system/docker.service', '[Service]\nExecStart=/usr/bin/dockerd -H fd://\n')
for (const name of readdirSync(ROOT))
  if (!name.startsWith('.')) symlinkSync(join(ROOT, name), join(CLONE, name))
const program = (name: string, line: string) =>
  writeFileSync(join(BIN, name), `#!/bin/sh\n${line}\n`, { mode: 0o755 })
const node = (file: string) => `exec ${process.execPath} ${join(ROOT, file)} "$@"`
program('sudo', 'exec "$@"')
program('shoal', node('bin/shoal.js'))
program('systemctl', node('test/docs/machine/systemctl-main.ts'))
program('docker', node('test/docs/machine/docker-main.ts'))
program('dockerd', `[ "$1" != --version ] || echo 'Docker version 28.5.1, build stand-in'`)
program('containerd', `echo 'containerd github.com/containerd/containerd/v2 v2.1.4 stand-in'`)
program('podman', `echo 'podman version 5.4.2'`)

const authority = await makeAuthority({ commonName: 'Authority of the site', validForSeconds: DAY_S })
const tls = await issueLeaf(authority, {
  commonName: REGISTRY,
  validForSeconds: DAY_S,
  names: NAMES.map((value) => ({ type: 'dns' as const, value })),
  usages: ['serverAuth'],
})
// The site's authority is in the system's store, as an administrator puts it there.
writeFileSync('/etc/ssl/certs/ca-certificates.crt', authority.certificatePem, { flag: 'a' })
const registry = await startStandInRegistry({
  processes: new LabProcesses('/run/log'),
  ...{ dir: '/run/registry', tls, authorityPem: authority.certificatePem },
  place: { name: REGISTRY, port: 443 },
})
await registry.publish('v1', LAYERS)
writeFileSync('/run/home/account.json', JSON.stringify(registry.puller))

/** What lines set for those that follow. */
const assigned: string[] = []
/** Of `shoal tracker init`. */
let joinString = ''
/** The second registry is shared too. */
let hasOther = false
let up: ReturnType<typeof spawn> | undefined

async function typed(line: string): Promise<{ code: number | null; output: string }> {
  const child = spawn('sh', ['-c', [...assigned, `exec 2>&1\n${line}`].join('\n')], {
    ...{ cwd: CLONE, env: ENV, timeout: LINE_MS_MAX },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  const output = await text(child.stdout)
  return { code: await ended, output }
}

/** Of the cluster and of the machine, as the tracker has them. */
async function idsOf(): Promise<{ cluster: string; node: string }> {
  const ask = async (what: string) => {
    const { output } = await typed(`curl -s --unix-socket ${ADMIN_SOCKET} http://localhost/admin/v1/${what}`)
    return JSON.parse(output) as Record<string, { cluster: string; node: string }[]>
  }
  const [{ clusters }, { nodes }] = [await ask('clusters'), await ask('nodes')]
  return { cluster: clusters![0]!.cluster, node: nodes?.at(-1)?.node ?? '' }
}

/** The line as the reader types it: with values in place of those that stand for others. */
async function filledIn({ text: line }: PageLine): Promise<string> {
  let filled = line.replace(/SHOALJOIN-1-…/, joinString)
  if (/shoal join -$/.test(filled)) {
    filled = `shoal admin token create --quiet > /run/join-string && ${filled} < /run/join-string`
  }
  if (/CLUSTER|NODE|--node /.test(filled)) {
    const { cluster, node } = await idsOf()
    filled = filled
      .replaceAll('CLUSTER', cluster)
      .replaceAll('NODE', node)
      .replace(/--node \w+/, `--node ${node}`)
  }
  if (/token withdraw/.test(filled)) {
    const { output } = await typed('shoal admin token ls --json')
    const tokens = JSON.parse(output) as { id: string; usesMax: number | null }[]
    const token = tokens.find(({ usesMax }) => usesMax === 1)
    filled = filled.replace(/[0-9a-f]{16}/, token?.id ?? '')
  }
  if (/block remove/.test(filled)) {
    const { output } = await typed('shoal admin block ls --json')
    const { blocks } = JSON.parse(output) as { blocks: { block: string }[] }
    filled = filled.replace(/[0-9a-f]{16}/, blocks[0]?.block ?? '')
  }
  if (/node (inspect|revoke)/.test(filled)) {
    const { output } = await typed('shoal admin node ls --json')
    const { nodes } = JSON.parse(output) as { nodes: { node: string }[] }
    filled = filled.replace(/[0-9a-f]{12}/, nodes[0]?.node ?? '')
  }
  return ASKS.test(filled) ? `${filled} --yes` : filled
}

/** What the page's prose tells its reader to do before a line, or takes for granted. */
async function before({ page, text: line }: PageLine): Promise<void> {
  if (/tracker init/.test(line) && up !== undefined) {
    const ended = new Promise((resolve) => up!.once('close', resolve))
    process.kill(-up.pid!, 'SIGINT')
    await ended
  }
  if (page.endsWith('operating.md') && /restart shoal-tracker/.test(line)) {
    const file = '/etc/shoal/tracker.json'
    const settings = JSON.parse(readFileSync(file, 'utf8')) as object
    writeFileSync(file, JSON.stringify({ ...settings, registries: `${REGISTRY},${OTHER}` }))
    hasOther = true
  }
  // The machine of the tracker is lost.
  if (/tar --extract/.test(line)) {
    cpSync('/etc/shoal/unlock-key', join(CLONE, 'unlock-key'))
    await typed('systemctl stop shoal-tracker; rm -r /etc/shoal/tracker* /var/lib/private/shoal-tracker/*')
  }
  if (/cache unpin/.test(line)) await typed(`shoal cache pin ${IMAGE}`)
}

/** The tracker's service counts as started before it listens; a reader is not as fast. */
async function after({ text: line }: PageLine): Promise<void> {
  if (!/tracker init|(start|--now) shoal-tracker/.test(line)) return
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    if ((await typed('shoal admin token ls')).code === 0) return
    await wait(TRY_AGAIN_MS)
  }
}

/** Each page but the first is about a machine that is a node and pulled the image. */
async function ready(): Promise<void> {
  const registries = (hasOther ? [REGISTRY, OTHER] : [REGISTRY]).map((host) => `--registry ${host}`).join(' ')
  const steps = [
    'shoal admin token create --quiet > /run/join-string',
    `shoal join - --attach docker ${registries} --restart --yes < /run/join-string`,
    'shoal wait ready',
    `docker pull ${IMAGE}`,
  ]
  for (const step of steps) {
    const { code, output } = await typed(step)
    if (code !== 0) throw new Error(`${step}: ${output}\n${shell('tail -n 30 /run/stand-in-units/*.log')}`)
  }
}

async function startUp(line: string): Promise<{ code: number | null; output: string }> {
  const child = spawn('sh', ['-c', `exec ${line}`], { cwd: CLONE, env: ENV, detached: true })
  up = child
  let output = ''
  await new Promise<void>((resolve) => {
    const hear = (chunk: Buffer) => {
      output += chunk
      if (output.includes('Shoal is up.')) resolve()
    }
    child.stdout.on('data', hear)
    child.stderr.on('data', hear)
    child.once('close', resolve)
    setTimeout(resolve, LINE_MS_MAX).unref()
  })
  return { code: child.exitCode ?? 0, output }
}

const lines = JSON.parse(await text(process.stdin)) as PageLine[]
let page = lines[0]?.page
for (const line of lines) {
  if (line.page !== page) await ready()
  page = line.page
  await before(line)
  const filled = await filledIn(line)
  if (/^\w+=/.test(filled)) assigned.push(filled)
  const begunMs = performance.now()
  const result = /npm start/.test(filled) ? await startUp(filled) : await typed(filled)
  joinString = /shoal join (SHOALJOIN-1-\S+)/.exec(result.output)?.[1] ?? joinString
  await after(line)
  process.stdout.write(
    `${JSON.stringify({ ...line, ...result, ms: Math.round(performance.now() - begunMs) } satisfies LineResult)}\n`,
  )
}
process.exit()
