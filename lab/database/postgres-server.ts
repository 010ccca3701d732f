import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import { LabRequirementError } from '../errors.ts'
import type { LabProcess, LabProcesses } from '../machine/processes.ts'

/**
 * Debian's PostgreSQL, over TLS and by its local socket, as sites run it: an owner's role that migrates, and a role for
 * trackers that only uses the tables. Its data goes with its folder; nothing waits for the disk.
 */

export const DATABASE = 'shoal'
export const OWNER_ROLE = 'shoal_owner'
export const TRACKER_ROLE = 'shoal_tracker'
/** One password for both roles: the lab is alone on its network. */
export const DATABASE_PASSWORD = 'a password of the lab'
/** The server refuses to run as root. */
const SERVER_USER = 'postgres'
const VERSIONS_FOLDER = '/usr/lib/postgresql'
const COMMAND_MS_MAX = 60_000
const START_MS_MAX = 30_000

export interface PostgresOptions {
  /** Of its process. Default: postgres. */
  name?: string
  processes: LabProcesses
  /** Absent or empty. */
  folder: string
  listen: { host: string; port: number }
  certificate: KeyedCertificate
  /** Runs the server there, for instance in a host's namespace. */
  wrap?: (argv: string[]) => string[]
}

/** Whether Debian's server is installed. */
export function hasPostgres(): boolean {
  return programsFolder() !== undefined
}

export class PostgresServer {
  readonly #options: PostgresOptions
  readonly #programs: string
  #process: LabProcess | undefined

  private constructor(options: PostgresOptions, programs: string) {
    this.#options = options
    this.#programs = programs
  }

  /** @throws LabRequirementError if the server is not installed */
  static async start(options: PostgresOptions): Promise<PostgresServer> {
    const programs = programsFolder()
    if (programs === undefined) throw new LabRequirementError('this needs PostgreSQL: apt install postgresql')
    const server = new PostgresServer(options, programs)
    await server.#make()
    await server.run()
    await server.#prepare()
    return server
  }

  /** A copy that follows this server (streaming replication), which acknowledges nothing that the copy has not. */
  async startStandby(options: Omit<PostgresOptions, 'processes' | 'certificate'>): Promise<PostgresServer> {
    const { processes, certificate } = this.#options
    const standby = new PostgresServer({ ...options, processes, certificate }, this.#programs)
    standby.#makeFolder()
    const from = ['-h', this.socketFolder, '-p', `${this.#options.listen.port}`, '-U', SERVER_USER]
    const copy = ['--pgdata', standby.#data, '--write-recovery-conf', '--checkpoint=fast', '--no-sync']
    await processes.run({
      argv: asServerUser([join(this.#programs, 'pg_basebackup'), ...from, ...copy]),
      timeoutMs: COMMAND_MS_MAX,
    })
    await standby.run()
    await this.sql("ALTER SYSTEM SET synchronous_standby_names = '*'", 'postgres')
    await this.sql('SELECT pg_reload_conf()', 'postgres')
    return standby
  }

  /** A standby becomes the primary. */
  async promote(): Promise<void> {
    await this.sql('SELECT pg_promote()', 'postgres')
  }

  get #data(): string {
    return join(this.#options.folder, 'data')
  }

  get processes(): LabProcesses {
    return this.#options.processes
  }

  get port(): number {
    return this.#options.listen.port
  }

  get socketFolder(): string {
    return this.#options.folder
  }

  /** @param role default: the trackers' */
  url(role = TRACKER_ROLE): string {
    const { host, port } = this.#options.listen
    return `postgres://${role}@${host}:${port}/${DATABASE}`
  }

  get process(): LabProcess {
    return this.#process!
  }

  /** Starts it again after it was stopped or killed. */
  async run(): Promise<void> {
    const { name = 'postgres', processes, folder, listen, wrap = (argv) => argv } = this.#options
    // A standby's folder has the settings of its primary.
    const own = ['-c', `port=${listen.port}`, '-c', `unix_socket_directories=${folder}`]
    this.#process = processes.start({
      name,
      argv: wrap(asServerUser([join(this.#programs, 'postgres'), '-D', this.#data, ...own])),
    })
    await this.#untilItAnswers()
  }

  /** Runs statements as the server's administrator. */
  async sql(statements: string, database = DATABASE): Promise<string> {
    const argv = ['psql', '--no-psqlrc', '--quiet', '--tuples-only', '--no-align', '--set=ON_ERROR_STOP=1']
    const { processes, listen } = this.#options
    return await processes.run({
      argv: asServerUser([
        ...argv,
        '-h',
        this.socketFolder,
        '-p',
        `${listen.port}`,
        '-U',
        SERVER_USER,
        '-d',
        database,
      ]),
      input: statements,
      timeoutMs: COMMAND_MS_MAX,
    })
  }

  async #make(): Promise<void> {
    const { processes, listen, certificate } = this.#options
    const { uid, gid } = this.#makeFolder()
    const data = this.#data
    const how = ['--no-sync', '--auth=peer', '--encoding=UTF8', '--locale=C', `--username=${SERVER_USER}`]
    await processes.run({
      argv: asServerUser([join(this.#programs, 'initdb'), ...how, '--pgdata', data]),
      timeoutMs: COMMAND_MS_MAX,
    })
    const own = (name: string, text: string) => {
      const path = join(data, name)
      writeFileSync(path, text, { mode: 0o600 })
      chmodSync(path, 0o600)
      chownSync(path, uid, gid)
    }
    own('server.crt', certificate.certificatePem)
    own('server.key', certificate.privateKeyPem)
    own(
      'pg_hba.conf',
      `local all,replication ${SERVER_USER} peer\nlocal all all scram-sha-256\nhostssl all all all scram-sha-256\n`,
    )
    own(
      'postgresql.auto.conf',
      [
        `listen_addresses = '${listen.host}'`,
        'ssl = on',
        "ssl_cert_file = 'server.crt'",
        "ssl_key_file = 'server.key'",
        'fsync = off',
        'shared_buffers = 32MB',
        'max_connections = 100',
        '',
      ].join('\n'),
    )
  }

  #makeFolder(): { uid: number; gid: number } {
    const { folder } = this.#options
    mkdirSync(folder, { recursive: true, mode: 0o755 })
    // Its user may go through, but not list, the folders of the lab above.
    const { uid, gid } = statSync('/var/lib/postgresql')
    chownSync(folder, uid, gid)
    return { uid, gid }
  }

  async #prepare(): Promise<void> {
    const password = `PASSWORD '${DATABASE_PASSWORD}'`
    await this.sql(
      `CREATE ROLE ${OWNER_ROLE} LOGIN ${password}; CREATE ROLE ${TRACKER_ROLE} LOGIN ${password};
       CREATE DATABASE ${DATABASE} OWNER ${OWNER_ROLE};`,
      'postgres',
    )
  }

  async #untilItAnswers(): Promise<void> {
    const until = Date.now() + START_MS_MAX
    for (;;) {
      try {
        await this.sql('SELECT 1', 'postgres')
        return
      } catch (error) {
        if (Date.now() > until || !this.process.isRunning()) throw error
        await delay(50)
      }
    }
  }
}

/** The newest version's. */
function programsFolder(): string | undefined {
  if (!existsSync(VERSIONS_FOLDER)) return undefined
  return readdirSync(VERSIONS_FOLDER)
    .toSorted((a, b) => Number(b) - Number(a))
    .map((version) => join(VERSIONS_FOLDER, version, 'bin'))
    .find((folder) => existsSync(join(folder, 'initdb')))
}

function asServerUser(argv: string[]): string[] {
  const as = [`--reuid=${SERVER_USER}`, `--regid=${SERVER_USER}`, '--clear-groups', '--pdeathsig', 'TERM']
  return ['setpriv', ...as, '--', ...argv]
}
