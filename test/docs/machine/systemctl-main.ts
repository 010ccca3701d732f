import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'

/**
 * The stand-in for systemctl on the machine of the pages: runs the commands of the packages' units as root, without systemd's
 * sockets, credentials and confinement.
 */

const UNITS = '/etc/systemd/system'
const STATE = '/run/stand-in-units'
const GUARD_SOCKET = '/run/shoal/guard.sock'
/** systemd would pass this socket. */
const MIRROR = ['--mirror-listen', '127.0.0.1:577']
const STOP_MS_MAX = 30_000
const START_MS_MAX = 20_000
const LOOK_MS = 50

interface Unit {
  name: string
  type: string | undefined
  start: string[]
  stop: string[] | undefined
  reload: string[] | undefined
  environment: Record<string, string>
  requires: string[]
  needsFile: string | undefined
  folders: string[]
}

function unitOf(given: string): Unit {
  const name = given.includes('.') ? given : `${given}.service`
  const text = readFileSync(join(UNITS, name), 'utf8')
  const all = (key: string) =>
    [...text.matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map(([, value]) => value!)
  const command = (key: string) => all(key)[0]?.split(' ')
  return {
    ...{ name, type: all('Type')[0], start: command('ExecStart') ?? [] },
    ...{ stop: command('ExecStop'), reload: command('ExecReload') },
    environment: Object.fromEntries(all('Environment').map((pair) => pair.split(/=(.*)/s).slice(0, 2))),
    requires: all('Requires').filter((one) => one.endsWith('.service')),
    needsFile: all('ConditionPathExists')[0],
    folders: [
      ...all('RuntimeDirectory').map((one) => `/run/${one}`),
      ...all('StateDirectory').map((one) => `/var/lib/${one}`),
    ],
  }
}

const pidFile = ({ name }: Unit) => join(STATE, `${name}.pid`)

function pidOf(unit: Unit): number | undefined {
  if (!existsSync(pidFile(unit))) return undefined
  const pid = Number(readFileSync(pidFile(unit), 'utf8'))
  return pid === 0 || isRunning(pid) ? pid : undefined
}

/** One that has ended stays as a zombie here: nobody waits for it. */
function isRunning(pid: number): boolean {
  const file = `/proc/${pid}/stat`
  return existsSync(file) && !/\) Z /.test(readFileSync(file, 'utf8'))
}

async function run(argv: string[]): Promise<void> {
  const child = spawn(argv[0]!, argv.slice(1), { stdio: 'inherit' })
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  if (code !== 0) throw new Error(`${argv.join(' ')} ended with ${code}`)
}

async function start(unit: Unit): Promise<void> {
  for (const required of unit.requires) await start(unitOf(required))
  if (pidOf(unit) !== undefined) return
  // As systemd does: the start counts as done, and nothing runs.
  if (unit.needsFile !== undefined && !existsSync(unit.needsFile)) return
  if (unit.type === 'oneshot') {
    await run(unit.start)
    writeFileSync(pidFile(unit), '0')
    return
  }
  for (const folder of unit.folders) mkdirSync(folder, { recursive: true, mode: 0o700 })
  const argv = unit.type === 'notify' ? withMirror(unit.start) : unit.start
  const log = openSync(join(STATE, `${unit.name}.log`), 'a')
  const { NODE_COMPILE_CACHE } = process.env
  const env = { ...process.env, ...unit.environment, NODE_COMPILE_CACHE }
  const child = spawn(argv[0]!, argv.slice(1), { detached: true, stdio: ['ignore', log, log], env })
  child.unref()
  writeFileSync(pidFile(unit), String(child.pid))
  if (unit.type === 'notify') await until(() => existsSync(GUARD_SOCKET), START_MS_MAX)
}

function withMirror(argv: string[]): string[] {
  const at = argv.indexOf('--')
  return argv.toSpliced(at, 0, ...MIRROR)
}

async function stop(unit: Unit): Promise<void> {
  const pid = pidOf(unit)
  if (pid === undefined) return
  if (pid === 0) await run(unit.stop!)
  else {
    process.kill(pid, 'SIGTERM')
    await until(() => pidOf(unit) === undefined, STOP_MS_MAX)
  }
  rmSync(pidFile(unit))
}

async function until(isSo: () => boolean, msMax: number): Promise<void> {
  for (let ms = 0; ms < msMax; ms += LOOK_MS) {
    if (isSo()) return
    await wait(LOOK_MS)
  }
  throw new Error('not in time')
}

/** dockerd reads its proxy once, at its start. */
function restartDocker(): void {
  const read = (path: string) => (existsSync(path) ? readFileSync(path, 'utf8') : '')
  const inFile = read('/etc/docker/daemon.json')
  const { proxies } = inFile === '' ? {} : (JSON.parse(inFile) as { proxies?: Record<string, string> })
  const folder = `${UNITS}/docker.service.d`
  const dropIns = existsSync(folder) ? readdirSync(folder).map((name) => read(join(folder, name))) : []
  const proxy = proxies?.['https-proxy'] ?? /HTTPS_PROXY=([^"\s]+)/.exec(dropIns.join('\n'))?.[1]
  writeFileSync(join(STATE, 'docker.json'), JSON.stringify({ proxy }))
}

mkdirSync(STATE, { recursive: true })
const words = process.argv.slice(2).filter((word) => !['--now', '--quiet'].includes(word))
const [verb = '', ...names] = words
if (verb === 'daemon-reload') process.exit(0)
for (const name of names) {
  if (/^docker(\.service)?$/.test(name)) {
    if (verb === 'restart') restartDocker()
    continue
  }
  // Whoever listens on the proxy's address here is the guard.
  if (name === 'shoal-proxy.socket') continue
  const unit = unitOf(name)
  if (verb === 'is-active') process.exit(pidOf(unit) === undefined ? 3 : 0)
  else if (verb === 'enable' || verb === 'start') await start(unit)
  else if (verb === 'stop') await stop(unit)
  else if (verb === 'restart') {
    await stop(unit)
    await start(unit)
  } else if (verb === 'reload') await run(unit.reload!)
  else throw new Error(`this stand-in knows no ${verb}`)
}
