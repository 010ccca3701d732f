import { join } from 'node:path'
import { issueLeaf, type KeyedCertificate, makeAuthority } from '../../../core/issue-certificate.ts'
import { sha256OfFile } from '../../measure/blob.ts'
import { type LineProcess, startLineProcess } from '../../measure/line-process.ts'
import type { BenchPeer, BenchSystem } from './system.ts'

const PEER_PROGRAM = join(import.meta.dirname, '../peers/pump-peer.ts')
const CERTIFICATE_SECONDS = 24 * 3600

/** The certificates of one pump process, in PEM. */
export interface PumpIdentity {
  key: string
  cert: string
  ca: string
}

/**
 * The least that a Node program can do for the same job: a file through mutual TLS 1.3 and SHA-256 into a file, from one
 * sender to every receiver. No swarm, no token, no piece: Shoal's distance from it is the engine's own cost.
 */
export const pump: BenchSystem = {
  name: 'pump',
  versions: async () => ({ node: process.versions.node, openssl: process.versions.openssl }),
  async open() {
    const authority = await makeAuthority({
      commonName: 'pump authority',
      validForSeconds: CERTIFICATE_SECONDS,
    })
    const start = async (folder: string) => {
      const process_ = startLineProcess([process.execPath, PEER_PROGRAM])
      const identity = await issueIdentity(authority)
      const { port } = await process_.ask<{ port: number }>({ do: 'open', folder, ...identity })
      return pumpPeer(process_, { port, folder })
    }
    return {
      servicePids: [],
      async startHolder(_folder, blobs) {
        return start(blobs[0]!.folder)
      },
      startDownloader: start,
      async settle() {},
      async close() {},
    }
  },
}

function pumpPeer(peer: LineProcess, { port, folder }: { port: number; folder: string }): BenchPeer {
  return {
    pid: peer.pid,
    port,
    async prepare() {},
    async download({ name, bytes }, [holderPort]) {
      await peer.ask({ do: 'download', name, bytes, port: holderPort })
      return 0
    },
    sentBytes: async ({ name }) => (await peer.ask<{ bytes: number }>({ do: 'sent', name })).bytes,
    contentHash: ({ name }) => sha256OfFile(join(folder, name)),
    stop: () => peer.stop(),
  }
}

async function issueIdentity(authority: KeyedCertificate): Promise<PumpIdentity> {
  const leaf = await issueLeaf(authority, {
    commonName: 'pump',
    validForSeconds: CERTIFICATE_SECONDS,
    names: [{ type: 'dns', value: 'localhost' }],
    usages: ['serverAuth', 'clientAuth'],
  })
  return { key: leaf.privateKeyPem, cert: leaf.certificatePem, ca: authority.certificatePem }
}
