import { X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import { beforeAll, expect, test } from 'vitest'
import { TokenKeyUnknownError } from '../../../client/membership/admission.ts'
import { ClusterTrustState, type PeerCredential } from '../../../client/membership/cluster-trust.ts'
import { makeKey } from '../../../client/membership/node-identity.ts'
import type { LinkHost } from '../../../client/peer/link-host.ts'
import { PullProof } from '../../../client/peer/pull-proof.ts'
import { encodeProof, encodeShownCertificate } from '../../../client/wire/extensions.ts'
import { type CertificateClaims, claimsToNames, type PullClaims } from '../../../core/certificate-claims.ts'
import { digestFromHex } from '../../../core/digest.ts'
import { issueLeaf, type KeyedCertificate, makeAuthority } from '../../../core/issue-certificate.ts'
import type { ClusterId, NodeId } from '../../../core/metainfo.ts'
import { parseRegistryHost, parseRepository } from '../../../core/repository.ts'
import type { TokenKeys } from '../../../core/token-keys.ts'

/** An acceptor shows its pull certificate inside the connection: what a dialler believes, and what it does not. */

const holder = { cluster: `c${'0'.repeat(16)}` as ClusterId, node: 'a'.repeat(40) as NodeId }
const pullClaims: PullClaims = {
  kind: 'pull',
  ...holder,
  pullId: '1'.repeat(32),
  registry: parseRegistryHost('registry.example'),
  repository: parseRepository('team/app'),
  grantedAtSeconds: 1,
  blobs: [digestFromHex('d'.repeat(64))],
}
let authority: KeyedCertificate
let trust: ClusterTrustState
/** What both sides present in TLS. */
let serving: X509Certificate
let dialling: X509Certificate

beforeAll(async () => {
  authority = await makeAuthority({ commonName: 'cluster', validForSeconds: 600 })
  trust = new ClusterTrustState({ adopt: () => undefined } as unknown as TokenKeys)
  trust.update({ authorities: [authority.certificatePem], batchKeys: [], tokenKeys: [] })
  serving = new X509Certificate((await issue({ kind: 'serve', ...holder })).certificatePem)
  dialling = new X509Certificate(
    (await issue({ ...pullClaims, node: 'b'.repeat(40) as NodeId })).certificatePem,
  )
})

async function issue(
  claims: CertificateClaims,
  issuer = authority,
  validForSeconds = 600,
): Promise<KeyedCertificate> {
  const { uris, dnsNames } = claimsToNames(claims)
  const key = makeKey()
  const leaf = await issueLeaf(issuer, {
    commonName: 'node',
    validForSeconds,
    names: [
      ...uris.map((value) => ({ type: 'url', value }) as const),
      ...dnsNames.map((value) => ({ type: 'dns', value }) as const),
    ],
    usages: ['clientAuth'],
    spki: key.spki,
  })
  return { certificatePem: leaf.certificatePem, privateKeyPem: key.privateKeyPem }
}

const credentialOf = ({ certificatePem, privateKeyPem }: KeyedCertificate): PeerCredential =>
  trust.credential(certificatePem, privateKeyPem, 600)

function ends(
  shown: PeerCredential | undefined,
  exporters = ['same', 'same'],
  checkProof: () => object = () => ({}),
) {
  const host = {
    prover: () => undefined,
    pullCredential: () => shown,
    hasIssued: (certificate: X509Certificate) => trust.hasIssued(certificate),
    checkProof,
    isRevoked: ({ node }: CertificateClaims) => node === 'e'.repeat(40),
    checkCertificate: (claims: CertificateClaims) => {
      if (claims.kind === 'pull') return claims
      throw new Error('not reached: kinds are checked by the admission')
    },
  } as unknown as LinkHost
  const socketOf = (local: X509Certificate, remote: X509Certificate, exporter: string) =>
    ({
      destroyed: false,
      getPeerX509Certificate: () => remote,
      getX509Certificate: () => local,
      exportKeyingMaterial: () => Buffer.from(exporter.padEnd(32)),
    }) as unknown as TLSSocket
  const acceptor = new PullProof(socketOf(serving, dialling, exporters[0]!), { host, isDialler: false })
  const dialler = new PullProof(socketOf(dialling, serving, exporters[1]!), { host, isDialler: true })
  return { acceptor, dialler }
}

test('a dialler takes the pull certificate that an acceptor shows, once', async () => {
  const { acceptor, dialler } = ends(credentialOf(await issue(pullClaims)))
  expect(dialler.claims.kind).toBe('serve')
  const [message, ...others] = acceptor.messages({ shoal_certificate: 9 })
  expect([message!.extension, others]).toEqual([9, []])
  expect(dialler.awaitsCertificate).toBe(true)
  expect(dialler.takeCertificate(message!.payload).claims).toEqual(pullClaims)
  expect(dialler.claims).toEqual(pullClaims)
  expect(dialler.certificates).toHaveLength(3)
  expect(dialler.awaitsCertificate).toBe(false)
  expect(acceptor.messages({ shoal_certificate: 9 })).toEqual([])
})

test('an acceptor that downloads nothing shows nothing, and a dialler shows no second certificate', async () => {
  expect(ends(undefined).acceptor.messages({ shoal_certificate: 9, shoal_proof: 8 })).toEqual([])
  const { dialler, acceptor } = ends(credentialOf(await issue(pullClaims)))
  expect(dialler.messages({ shoal_certificate: 9, shoal_proof: 8 })).toEqual([])
  expect(acceptor.awaitsCertificate).toBe(false)
})

test.each([
  [
    'of an authority that is not trusted',
    async () => issue(pullClaims, await makeAuthority({ commonName: 'cluster', validForSeconds: 600 })),
  ],
  ['that has ended', () => issue(pullClaims, authority, -1)],
  ['of another node', () => issue({ ...pullClaims, node: 'c'.repeat(40) as NodeId })],
  ['of a revoked node', () => issue({ ...pullClaims, node: 'e'.repeat(40) as NodeId })],
] as const)('a certificate %s is refused', async (_what, make) => {
  const { acceptor, dialler } = ends(credentialOf(await make()))
  const [message] = acceptor.messages({ shoal_certificate: 9 })
  expect(() => dialler.takeCertificate(message!.payload)).toThrow(
    expect.objectContaining({ code: 'PEER_REFUSED' }),
  )
  expect(dialler.claims.kind).toBe('serve')
})

test('a certificate shown on another connection, without its key, is refused', async () => {
  const shown = credentialOf(await issue(pullClaims))
  const elsewhere = ends(shown, ['one connection', 'another'])
  const [message] = elsewhere.acceptor.messages({ shoal_certificate: 9 })
  const forged = encodeShownCertificate({
    certificate: new X509Certificate(shown.certificatePem).raw,
    signature: credentialOf(await issue(pullClaims)).sign(Buffer.from('anything')),
  })
  for (const payload of [message!.payload, forged]) {
    expect(() => elsewhere.dialler.takeCertificate(payload)).toThrow(
      expect.objectContaining({ code: 'PEER_REFUSED' }),
    )
  }
})

test.each([Buffer.from('de'), Buffer.from('d11:certificate1:x9:signature1:ye')])('%s is none', (payload) => {
  const { dialler } = ends(undefined)
  expect(() => dialler.takeCertificate(payload)).toThrow(
    expect.objectContaining({ code: expect.stringMatching(/^PEER_/) }),
  )
})

test('a proof that waits for the tracker’s word on its key admits nobody whom another proof admitted meanwhile', async () => {
  const { promise: asked, resolve: answer } = Promise.withResolvers<void>()
  let isKeyKnown = false
  const { acceptor } = ends(undefined, ['same', 'same'], () => {
    if (isKeyKnown) return {}
    throw new TokenKeyUnknownError(() => asked)
  })
  const payload = encodeProof({ signingInput: 'header.payload', proof: Buffer.alloc(64) })
  const admitted: string[] = []
  const again = (kept: Buffer) => {
    if (acceptor.takeProof(kept, again) !== undefined) admitted.push('again')
  }
  expect(acceptor.takeProof(payload, again)).toBeUndefined()
  isKeyKnown = true
  if (acceptor.takeProof(payload, again) !== undefined) admitted.push('at once')
  answer()
  await asked
  await new Promise(setImmediate)
  expect(admitted).toEqual(['at once'])
})
