import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { issueLeaf, type KeyedCertificate, makeAuthority } from '../../../core/issue-certificate.ts'
import { BenchRequirementError } from '../../measure/errors.ts'
import { startLineProcess } from '../../measure/line-process.ts'
import type { BenchSystem } from './system.ts'
import { torrentPeers } from './torrent-peers.ts'

const PEER_PROGRAM = join(import.meta.dirname, '../peers/libtorrent-peer.py')
/** Debian's own Python first: another one earlier in PATH does not see Debian's packages. */
const PYTHONS = ['/usr/bin/python3', 'python3']
const CERTIFICATE_SECONDS = 24 * 3600

/** libtorrent through its Python binding; its own threads do all the work. */
export const libtorrentPlain: BenchSystem = {
  name: 'libtorrent-plain',
  versions: libtorrentVersion,
  async open() {
    const { python } = await findLibtorrent()
    const startProcess = async () => {
      const peer = startLineProcess([python, PEER_PROGRAM])
      await peer.ask({ do: 'open', ssl: null })
      return peer
    }
    return torrentPeers({ startProcess })
  },
}

/** libtorrent's SSL torrents: mutual TLS, every peer with a certificate of the authority that the torrent names. */
export const libtorrentSsl: BenchSystem = {
  name: 'libtorrent-ssl',
  versions: libtorrentVersion,
  async open(folder) {
    const { python } = await findLibtorrent()
    const authority = await makeAuthority({
      commonName: 'Shoal benchmark',
      validForSeconds: CERTIFICATE_SECONDS,
    })
    let peers = 0
    const startProcess = async () => {
      const peer = startLineProcess([python, PEER_PROGRAM])
      await peer.ask({ do: 'open', ssl: await issueCertificate(authority, join(folder, `peer-${peers++}`)) })
      return peer
    }
    return torrentPeers({ startProcess, sslAuthorityPem: authority.certificatePem })
  },
}

async function libtorrentVersion(): Promise<Record<string, string>> {
  return { libtorrent: (await findLibtorrent()).version }
}

/** @throws BenchRequirementError */
async function findLibtorrent(): Promise<{ python: string; version: string }> {
  for (const python of PYTHONS) {
    const script = 'import libtorrent; print(libtorrent.__version__)'
    const found = await promisify(execFile)(python, ['-c', script]).catch(() => undefined)
    if (found) return { python, version: found.stdout.trim() }
  }
  throw new BenchRequirementError('this machine lacks libtorrent for Python', {
    hint: 'On Debian or Ubuntu: sudo apt-get install -y python3-libtorrent; or leave it out with --systems.',
  })
}

/** libtorrent takes a certificate whose name is `*` for any torrent of its authority. */
async function issueCertificate(authority: KeyedCertificate, path: string) {
  const leaf = await issueLeaf(authority, {
    commonName: 'peer',
    validForSeconds: CERTIFICATE_SECONDS,
    names: [{ type: 'dns', value: '*' }],
    usages: ['serverAuth', 'clientAuth'],
  })
  const files = { certificateFile: `${path}.crt`, keyFile: `${path}.key` }
  await writeFile(files.certificateFile, leaf.certificatePem)
  await writeFile(files.keyFile, leaf.privateKeyPem, { mode: 0o600 })
  return files
}
