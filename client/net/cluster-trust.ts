import type { KeyObject } from 'node:crypto'
import { createSecureContext, type SecureContext } from 'node:tls'
import type { CertificateClaims } from '../../core/certificate-claims.ts'
import { batchKeyFromRaw, type HashBatch, isHashBatchSigned } from '../../core/hash-batch.ts'
import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import type { TokenKeys } from '../../core/token-keys.ts'
import type { ClusterTrust, Revocation } from '../../core/tracker-api.ts'

/** A certificate of this node towards peers, ready for use, with what the proof binds to. */
export interface PeerCredential {
  context: SecureContext
  certificatePem: string
  expiresAtMs: number
}

/**
 * What this node trusts in its cluster, as the tracker last said: authorities, keys that sign hash batches, token
 * keys, and who is revoked.
 */
export class ClusterTrustState {
  /** Undefined until the node has joined. */
  cluster: ClusterId | undefined
  private readonly tokenKeys: TokenKeys
  private authoritiesPem: readonly string[] = []
  private batchKeys: KeyObject[] = []
  private readonly revokedNodes = new Set<NodeId>()
  private readonly revokedPulls = new Set<string>()
  private revocationsSeen = 0

  constructor(tokenKeys: TokenKeys) {
    this.tokenKeys = tokenKeys
  }

  get authorities(): readonly string[] {
    return this.authoritiesPem
  }

  get revocationsVersion(): number {
    return this.revocationsSeen
  }

  update(trust: ClusterTrust): void {
    this.authoritiesPem = trust.authorities
    this.batchKeys = trust.batchKeys.map(batchKeyFromRaw)
    this.tokenKeys.adopt(trust.tokenKeys)
  }

  revoke(version: number, revocations: readonly Revocation[], isFull: boolean): void {
    if (isFull) {
      this.revokedNodes.clear()
      this.revokedPulls.clear()
    }
    for (const revocation of revocations) {
      if (revocation.kind === 'node') this.revokedNodes.add(revocation.node)
      else this.revokedPulls.add(revocation.pull)
    }
    this.revocationsSeen = version
  }

  isRevoked(claims: CertificateClaims): boolean {
    return (
      this.revokedNodes.has(claims.node) || (claims.kind === 'pull' && this.revokedPulls.has(claims.pullId))
    )
  }

  isSigned(batch: HashBatch): boolean {
    return this.cluster !== undefined && isHashBatchSigned(this.batchKeys, this.cluster, batch)
  }

  /** A TLS context that presents this certificate and trusts the cluster's authorities and nobody else. */
  credential(certificatePem: string, privateKeyPem: string, validForSeconds: number): PeerCredential {
    return {
      context: createSecureContext({
        cert: certificatePem,
        key: privateKeyPem,
        ca: [...this.authoritiesPem],
        minVersion: 'TLSv1.3',
      }),
      certificatePem,
      expiresAtMs: Date.now() + validForSeconds * 1000,
    }
  }
}
