import { readdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { getCACertificates } from 'node:tls'
import { readIfThere } from './read-if-there.ts'

/**
 * The system's store of authorities, from the files in which Node's OpenSSL finds it: `getCACertificates('system')` parses
 * each certificate once per file and link to it (600 times on Debian), and keeps them all: 58 ms of a start and 4 MiB.
 */

/** OPENSSLDIR of Node, and the variables that replace them (X509_get_default_cert_file(3)). */
const FILE = { variable: 'SSL_CERT_FILE', path: '/etc/ssl/cert.pem' }
const FOLDERS = { variable: 'SSL_CERT_DIR', path: '/etc/ssl/certs' }
export const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g

/** @returns PEM certificates, each once; not checked */
export function systemAuthorities(env: NodeJS.ProcessEnv = process.env): string[] {
  if (process.platform !== 'linux') return getCACertificates('system')
  const folders = (env[FOLDERS.variable] || FOLDERS.path).split(':')
  const paths = [env[FILE.variable] || FILE.path, ...folders.flatMap(filesIn)]
  const texts = [...new Set(paths.map(realPath))].map((path) => readIfThere(path) ?? '')
  return [...new Set(texts.flatMap((text) => text.match(PEM_CERTIFICATE) ?? []).map(plain))]
}

/** Most of a store are links to its other files. */
function realPath(path: string): string {
  try {
    return realpathSync.native(path)
  } catch {
    return path
  }
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder).map((name) => join(folder, name))
  } catch {
    return []
  }
}

const plain = (pem: string) => pem.replaceAll('\r\n', '\n')
