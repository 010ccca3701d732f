import { X509Certificate } from 'node:crypto'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  type CertificateClaims,
  claimsFromNames,
  claimsToNames,
  linkNameOf,
} from '../../core/certificate-claims.ts'
import { issueLeaf, type KeyedCertificate, makeAuthority, spkiOf } from '../../core/issue-certificate.ts'
import { linkHolderOf, nodeOfLinkName } from '../../core/link-certificate.ts'
import { type ClusterId, type NodeId, nodeIdOf } from '../../core/metainfo.ts'
import { newKey } from '../tracker/test-tracker.ts'

const cluster = 'c0123456789abcdef' as ClusterId
const [own, other] = [newKey(), newKey()]
const [node, otherNode] = [nodeIdOf(spkiOf(own)), nodeIdOf(spkiOf(other))]

describe('a link certificate', () => {
  let authority: KeyedCertificate

  beforeAll(async () => {
    authority = await makeAuthority({ commonName: 'cluster', validForSeconds: 3600 })
  })

  async function certificateOf(claims: CertificateClaims, key = own): Promise<X509Certificate> {
    const { uris, dnsNames } = claimsToNames(claims)
    const names = [
      ...uris.map((value) => ({ type: 'url' as const, value })),
      ...dnsNames.map((value) => ({ type: 'dns' as const, value })),
    ]
    const usages = ['clientAuth' as const, 'serverAuth' as const]
    const leaf = { commonName: 'x', validForSeconds: 60, names, usages, spki: spkiOf(key) }
    return new X509Certificate((await issueLeaf(authority, leaf)).certificatePem)
  }

  it('names its node, once for people and once as the SNI of its links', async () => {
    const certificate = await certificateOf({ kind: 'link', cluster, node })
    expect(linkHolderOf(certificate)).toEqual({ kind: 'link', cluster, node })
    expect(certificate.checkHost(linkNameOf(node))).toBe(linkNameOf(node))
    expect(nodeOfLinkName(linkNameOf(node))).toBe(node)
  })

  it('is refused for any key but that of the node that it names', async () => {
    const certificate = await certificateOf({ kind: 'link', cluster, node: otherNode })
    expect(() => linkHolderOf(certificate)).toThrow(expect.objectContaining({ code: 'CERTIFICATE_CLAIMS' }))
  })

  it.each(['node', 'serve'] as const)('is no %s certificate', async (kind) => {
    const certificate = await certificateOf({ kind, cluster, node })
    expect(() => linkHolderOf(certificate)).toThrow(expect.objectContaining({ code: 'CERTIFICATE_CLAIMS' }))
  })

  it.each([
    ['none', []],
    ['another node’s', [linkNameOf(otherNode)]],
    ['every', ['*']],
    ["a torrent's as well", [linkNameOf(node), 'a'.repeat(64)]],
  ])('carries no other name: %s', (_, dnsNames) => {
    const { uris } = claimsToNames({ kind: 'link', cluster, node })
    expect(() => claimsFromNames({ uris, dnsNames })).toThrow(
      expect.objectContaining({ code: 'CERTIFICATE_CLAIMS' }),
    )
  })

  it.each([
    node,
    `${node}.node.shoal.`,
    `${node}.node.shoal.example`,
    `x.${linkNameOf(node)}`,
    linkNameOf(node).toUpperCase(),
    linkNameOf('z'.repeat(40) as NodeId),
    '',
  ])('has one spelling of its name: not %j', (name) => {
    expect(nodeOfLinkName(name)).toBeUndefined()
  })
})
