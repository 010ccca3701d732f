import { isIP } from 'node:net'
import { ConfigError } from '../core/config.ts'

/** What a connection URI of PostgreSQL says (RFC 3986; libpq, "Connection URIs"). */
export interface DatabasePlace {
  /** In order of preference; all serve the same database, and the one that takes writes is used. Empty for a socket. */
  hosts: { host: string; port: number }[]
  /** Folder and number of the server's local socket. */
  socket?: { host: string; port: number }
  user: string
  database: string
}

const POSTGRES_PORT = 5432
/** A primary and its standbys. */
export const POSTGRES_HOSTS_MAX = 8

/**
 * Reads `postgres://user@host[:port][,host[:port]…]/database`, or `postgres://user@/database?host=/run/postgresql[&port=5433]` for a
 * local socket.
 * @throws ConfigError if it is malformed, or contains a password
 */
export function readDatabaseUrl(text: string): DatabasePlace {
  const match = /^postgres(?:ql)?:\/\/([^@/?#]*)@([^/?#]*)\/([^/?#]+)(?:\?(.*))?$/.exec(text)
  if (match === null) throw malformed('it must look like postgres://user@host/database')
  const [, user = '', places = '', database = '', query = ''] = match
  if (user.includes(':'))
    throw malformed('it contains a password: give that in a file, with databasePasswordFile')
  if (user === '') throw malformed('it names no user')
  const parameters = new URLSearchParams(query)
  const socketFolder = parameters.get('host') ?? undefined
  const port = readPort(parameters.get('port'))
  for (const known of ['host', 'port']) parameters.delete(known)
  const [unknown] = parameters.keys()
  if (unknown !== undefined) throw malformed(`it has the parameter ${unknown}; only host and port are known`)
  const hosts = places === '' ? [] : places.split(',').map(readHost)
  if (hosts.length > POSTGRES_HOSTS_MAX) throw malformed(`it names more than ${POSTGRES_HOSTS_MAX} hosts`)
  // With several hosts TLS compares the certificate with the name that was dialled.
  if (hosts.length > 1 && hosts.some(({ host }) => isIP(host) !== 0))
    throw malformed('of several hosts each must be a name, which its certificate has')
  if (socketFolder !== undefined && !socketFolder.startsWith('/'))
    throw malformed('the parameter host is for the folder of a local socket, as in ?host=/run/postgresql')
  if ((hosts.length === 0) === (socketFolder === undefined))
    throw malformed('it must name hosts, or the folder of a local socket')
  const place = { hosts, user: decode(user), database: decode(database) }
  return socketFolder === undefined ? place : { ...place, socket: { host: socketFolder, port } }
}

function readHost(text: string): { host: string; port: number } {
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?$/.exec(text)
  if (match === null) throw malformed(`${JSON.stringify(text)} is not a host`)
  return { host: (match[1] ?? '').replace(/^\[|\]$/g, ''), port: readPort(match[2]) }
}

function readPort(text: string | null | undefined): number {
  const port = Number(text ?? POSTGRES_PORT)
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw malformed(`${JSON.stringify(text)} is not a port`)
  return port
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw malformed('it has a percent sign that is no escape')
  }
}

function malformed(why: string): ConfigError {
  return new ConfigError(`databaseUrl: ${why}`)
}
