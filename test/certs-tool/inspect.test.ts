import { createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type CertificateFacts, factsOf } from '../../certs-tool/certificate-facts.ts'
import { certificateText } from '../../certs-tool/certificate-text.ts'
import { issueTrackerTls, makeLabAuthority } from '../../certs-tool/tracker-certificates.ts'
import { type CertificateClaims, claimsToNames } from '../../core/certificate-claims.ts'
import { parseDigest } from '../../core/digest.ts'
import { issueLeaf, type KeyedCertificate, makeAuthority } from '../../core/issue-certificate.ts'
import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import { parseRegistryHost, parseRepository } from '../../core/repository.ts'
import { runShoal } from '../cli/run-shoal.ts'

const folder = mkdtempSync(join(tmpdir(), 'shoal-inspect-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const cluster = 'c0123456789abcdef' as ClusterId
const node = 'ab'.repeat(20) as NodeId
const blobs = ['11'.repeat(32), '22'.repeat(32)].map((hex) => parseDigest(`sha256:${hex}`))
const pullClaims: CertificateClaims = {
  kind: 'pull',
  cluster,
  node,
  pullId: '0f'.repeat(16),
  registry: parseRegistryHost('registry.example.com:5000'),
  repository: parseRepository('team/app'),
  grantedAtSeconds: 1_790_000_000,
  tokenHash: 'cd'.repeat(32),
  blobs,
}

let authority: KeyedCertificate
beforeAll(async () => {
  authority = await makeAuthority({ commonName: `shoal cluster ${cluster}`, validForSeconds: 3600 })
})

async function issue(claims: CertificateClaims, validForSeconds = 1800): Promise<string> {
  const { uris, dnsNames } = claimsToNames(claims)
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const issued = await issueLeaf(authority, {
    commonName: `shoal ${claims.kind}`,
    validForSeconds,
    names: [
      ...uris.map((value) => ({ type: 'url' as const, value })),
      ...dnsNames.map((value) => ({ type: 'dns' as const, value })),
    ],
    usages: claims.kind === 'serve' ? ['serverAuth'] : ['clientAuth', 'serverAuth'],
    spki: createPublicKey(publicKey.export({ type: 'spki', format: 'pem' })).export({
      type: 'spki',
      format: 'der',
    }),
  })
  return issued.certificatePem
}

function fileWith(...contents: (string | Buffer)[]): string {
  const path = join(folder, `${Math.random().toString(36).slice(2)}.pem`)
  writeFileSync(path, Buffer.concat(contents.map((content) => Buffer.from(content))))
  return path
}

const inspect = (...argv: string[]) => runShoal(['certs', 'inspect', ...argv])

describe('shoal certs inspect', () => {
  it('tells a pull certificate in plain words', async () => {
    const { code, stdout, stderr } = await inspect(fileWith(await issue(pullClaims)))
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    for (const fact of [
      'pull certificate',
      cluster,
      node,
      'registry.example.com:5000',
      'team/app',
      ...blobs,
    ]) {
      expect(stdout).toContain(fact)
    }
    expect(stdout).toContain('cd'.repeat(32))
    expect(stdout).toContain('2026-09-21 14:13:20 UTC')
    expect(stdout).toMatch(/valid for another (29|30) min/)
    expect(stdout).toContain('client and server')
    expect(stdout).toContain(`issued by     CN=shoal cluster ${cluster}, key `)
  })

  it('names the issuer by fingerprint when it is in the same file, and counts what is there', async () => {
    const { stdout } = await inspect(
      fileWith(await issue(pullClaims), authority.certificatePem, authority.privateKeyPem),
    )
    const { fingerprint256 } = new X509Certificate(authority.certificatePem)
    expect(stdout).toContain('certificate 1 of 2')
    expect(stdout).toContain(`CN=shoal cluster ${cluster}, SHA-256 ${fingerprint256}`)
    expect(stdout).toContain("a cluster's authority")
    expect(stdout).toContain('also holds: a private key (not shown)')
    expect(stdout).not.toContain(authority.privateKeyPem.split('\n')[1])
  })

  it('prints the same facts as JSON', async () => {
    const { stdout } = await inspect('--json', fileWith(await issue({ kind: 'node', cluster, node })))
    const [facts] = JSON.parse(stdout) as [CertificateFacts]
    expect(facts).toMatchObject({ kind: 'node', isAuthority: false, claims: { kind: 'node', cluster, node } })
    expect(Date.parse(facts.validTo)).toBeGreaterThan(Date.now())
  })

  it('reads DER and standard input', async () => {
    const certificate = new X509Certificate(await issue({ kind: 'serve', cluster, node }))
    expect((await inspect(fileWith(certificate.raw))).stdout).toContain('a serve certificate')
    const piped = await runShoal(['certs', 'inspect', '-'], { input: certificate.toString() })
    expect(piped.stdout).toContain('a serve certificate')
  })

  it.each([
    ['the join token of cluster c0123456789abcdef', `SHOAL-1-${cluster}-${'x'.repeat(43)}\n`],
    ['an unlock key', `SHOALKEY-1-${'x'.repeat(43)}\n`],
    ['no certificate that can be read', 'hello'],
    ['no certificate that can be read', ''],
    ['no certificate that can be read', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'],
    [
      'a private key (not shown), and no certificate',
      '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n',
    ],
  ])('says of another file that it holds %s', async (what, content) => {
    const { code, stdout, stderr } = await inspect(fileWith(content))
    expect(stderr).toContain(what)
    expect(stderr).toMatch(/\nhint: /)
    expect(stderr).not.toContain('x'.repeat(43))
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  })
})

describe('what a certificate is', () => {
  const textOf = (pem: string, now = new Date()) => certificateText(factsOf(new X509Certificate(pem)), now)

  it('is told of the lab’s authority and the tracker’s certificate', async () => {
    const lab = await makeLabAuthority()
    const tracker = await issueTrackerTls(lab, { names: ['tracker.example.com'] })
    expect(textOf(lab.certificatePem)).toContain("a lab's authority")
    expect(textOf(lab.certificatePem)).toContain('issued by     itself')
    expect(textOf(tracker.certificatePem)).toContain("the tracker's HTTPS certificate")
    expect(textOf(tracker.certificatePem)).toContain('localhost, 127.0.0.1,')
  })

  it('includes the hosts that a proxy’s authority is confined to', async () => {
    const permitted = { dnsNames: ['registry.example.com'], ipAddresses: [] }
    const proxy = await makeAuthority({
      commonName: 'Shoal proxy (this machine)',
      validForSeconds: 60,
      permitted,
    })
    expect(textOf(proxy.certificatePem)).toMatch(/only for {6}registry\.example\.com$/m)
    expect(textOf(proxy.certificatePem)).toContain(
      'never for     .registry.example.com, any IPv4 address, any IPv6 address, email addresses at nobody.invalid, URIs at nobody.invalid',
    )
    const byAddress = { dnsNames: [], ipAddresses: ['10.1.2.3', 'fd00::1'] }
    const other = await makeAuthority({
      commonName: 'Shoal proxy (x)',
      validForSeconds: 60,
      permitted: byAddress,
    })
    expect(textOf(other.certificatePem)).toMatch(/only for {6}10\.1\.2\.3, fd00::1$/m)
    expect(textOf(other.certificatePem)).toContain('never for     any name')
  })

  it('is not guessed for a stranger', async () => {
    const stranger = await makeAuthority({ commonName: 'Someone', validForSeconds: 60 })
    expect(textOf(stranger.certificatePem)).toContain('a certificate that Shoal does not know')
    expect(textOf(stranger.certificatePem)).toContain('subject       CN=Someone')
  })

  it('is valid, ended, or not begun', async () => {
    const pem = await issue({ kind: 'node', cluster, node })
    const { validFromDate, validToDate } = new X509Certificate(pem)
    const later = (date: Date, ms: number) => new Date(date.getTime() + ms)
    expect(textOf(pem, later(validToDate, -23 * 60_000 - 1))).toContain('valid for another 23 min')
    expect(textOf(pem, later(validToDate, 3 * 3_600_000))).toContain('expired 3 h ago')
    expect(textOf(pem, later(validFromDate, -90_000))).toContain('not yet valid, in 90 s')
  })
})
