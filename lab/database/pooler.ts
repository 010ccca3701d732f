import { chmodSync, chownSync, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import { LabRequirementError } from '../errors.ts'
import { isAnswering } from '../machine/listening.ts'
import { type LabProcess, type LabProcesses, waitForPart } from '../machine/processes.ts'
import { DATABASE, DATABASE_PASSWORD, type PostgresServer, TRACKER_ROLE } from './postgres-server.ts'

/** Debian's pgbouncer in transaction mode, over TLS: a server connection belongs to a client for one transaction. */

const PROGRAM = '/usr/sbin/pgbouncer'
/** It refuses to run as root. */
const USER = 'postgres'

export interface PoolerOptions {
  processes: LabProcesses
  /** Absent or empty. */
  folder: string
  listen: { host: string; port: number }
  certificate: KeyedCertificate
  server: PostgresServer
  /** Connections to the server for all clients together. */
  connections: number
}

/** Whether Debian's pooler is installed. */
export function hasPooler(): boolean {
  return existsSync(PROGRAM)
}

/** @throws LabRequirementError if it is not installed; LabPartError, LabPartEndedError if it does not start */
export async function startPooler(options: PoolerOptions): Promise<{ url: string; process: LabProcess }> {
  if (!hasPooler()) throw new LabRequirementError('this needs pgbouncer: apt install pgbouncer')
  const { processes, folder, listen, certificate, server, connections } = options
  const { uid, gid } = statSync('/var/lib/postgresql')
  mkdirSync(folder, { recursive: true })
  chmodSync(folder, 0o755)
  chownSync(folder, uid, gid)
  const own = (name: string, text: string) => {
    const path = join(folder, name)
    writeFileSync(path, text, { mode: 0o600 })
    chownSync(path, uid, gid)
    return path
  }
  const settings = own(
    'pgbouncer.ini',
    [
      '[databases]',
      `${DATABASE} = host=${server.socketFolder} port=${server.port} dbname=${DATABASE}`,
      '[pgbouncer]',
      `listen_addr = ${listen.host}`,
      `listen_port = ${listen.port}`,
      'unix_socket_dir =',
      'auth_type = scram-sha-256',
      `auth_file = ${own('users.txt', `"${TRACKER_ROLE}" "${DATABASE_PASSWORD}"\n`)}`,
      'pool_mode = transaction',
      `default_pool_size = ${connections}`,
      'client_tls_sslmode = require',
      `client_tls_cert_file = ${own('pooler.crt', certificate.certificatePem)}`,
      `client_tls_key_file = ${own('pooler.key', certificate.privateKeyPem)}`,
      '',
    ].join('\n'),
  )
  const as = [`--reuid=${USER}`, `--regid=${USER}`, '--clear-groups', '--pdeathsig', 'TERM']
  const part = processes.start({ name: 'pgbouncer', argv: ['setpriv', ...as, '--', PROGRAM, settings] })
  const url = `postgres://${TRACKER_ROLE}@${listen.host}:${listen.port}/${DATABASE}`
  await waitForPart(part, () => isAnswering(listen.host, listen.port))
  return { url, process: part }
}
