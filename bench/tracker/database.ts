import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import {
  DATABASE,
  DATABASE_PASSWORD,
  OWNER_ROLE,
  PostgresServer,
  TRACKER_ROLE,
} from '../../lab/database/postgres-server.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { LabProcesses } from '../../lab/machine/processes.ts'
import { cpuSecondsOf, cpuSecondsOfEndedChildren } from '../../lab/machine/processor-use.ts'
import { openDatabase } from '../../tracker/store/open-store.ts'
import { migratePostgres } from '../../tracker/store/postgres/migrate.ts'

/** Debian's PostgreSQL for one run. It does not wait for the disk, so the figures are of processors, not of disks. */
export interface BenchDatabase {
  /** Settings of `shoal tracker`. */
  readonly config: { databaseUrl: string; databasePasswordFile: string; databaseCaFile: string }
  /** What it has done until now. */
  work(): Promise<DatabaseWork>
  close(): Promise<void>
}

export interface DatabaseWork {
  cpuSeconds: number
  transactions: number
  /** Of the write-ahead log. */
  logBytes: number
}

/** @param parent folder of the run @throws LabRequirementError without the server, or without root */
export async function startBenchDatabase(
  parent: string,
  tls: KeyedCertificate,
  authorityPem: string,
): Promise<BenchDatabase> {
  const folder = join(parent, 'database')
  mkdirSync(folder)
  // The server's own user must get in.
  for (const path of [parent, folder]) chmodSync(path, 0o711)
  const write = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const processes = new LabProcesses(folder)
  const server = await PostgresServer.start({
    processes,
    folder: join(folder, 'server'),
    listen: { host: 'localhost', port: await freePort() },
    certificate: tls,
  }).catch(async (error: unknown) => {
    await processes.close()
    throw error
  })
  const config = {
    databaseUrl: server.url(),
    databasePasswordFile: write('password', DATABASE_PASSWORD),
    databaseCaFile: write('authority.crt', authorityPem),
  }
  const owner = await openDatabase(server.url(OWNER_ROLE), config)
  await migratePostgres(owner, TRACKER_ROLE)
  await owner.close()
  return {
    config,
    work: async () => {
      const [transactions, logBytes] = (
        await server.sql(`SELECT xact_commit, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')
          FROM pg_stat_database WHERE datname = '${DATABASE}'`)
      )
        .trim()
        .split('|')
      return {
        cpuSeconds: cpuSecondsWithChildren(server.process.pid),
        transactions: Number(transactions),
        logBytes: Number(logBytes),
      }
    },
    close: () => processes.close(),
  }
}

/** The server has a process for each connection. The time of one that has ended is the server's. */
function cpuSecondsWithChildren(pid: number): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(' ').map(Number)
  const running = children.reduce((sum, child) => sum + cpuSecondsIfRunning(child), 0)
  return running + cpuSecondsOf([pid]) + cpuSecondsOfEndedChildren(pid)
}

function cpuSecondsIfRunning(pid: number): number {
  try {
    return cpuSecondsOf([pid])
  } catch {
    return 0
  }
}
