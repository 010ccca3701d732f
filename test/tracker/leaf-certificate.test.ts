import 'reflect-metadata'
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { p256 } from '@noble/curves/nist.js'
import * as x509 from '@peculiar/x509'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type CertificateClaims, claimsOf } from '../../core/certificate-claims.ts'
import { digestFromHex } from '../../core/digest.ts'
import { makeAuthority, spkiOf } from '../../core/issue-certificate.ts'
import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import type { RegistryHost, Repository } from '../../core/repository.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { ClusterAuthority } from '../../tracker/authority/cluster-authority.ts'
import { checkedP256Spki } from '../../tracker/authority/leaf-certificate.ts'
import { newKey } from './test-tracker.ts'

const cluster = 'c0123456789abcdef' as ClusterId
const node = '1'.repeat(40) as NodeId
const key = newKey()
const spki = checkedP256Spki(spkiOf(key))

function pullClaims(blobs: number): CertificateClaims {
  return {
    kind: 'pull',
    cluster,
    node,
    pullId: 'f'.repeat(32),
    registry: '[::1]:5000' as RegistryHost,
    repository: 'team/app' as Repository,
    grantedAtSeconds: 1_800_000_000,
    tokenHash: 'e'.repeat(64),
    blobs: Array.from({ length: blobs }, (_, at) => digestFromHex(at.toString(16).padStart(64, '0'))),
  }
}

/** A point whose x coordinate is written with the field's prime added: on the curve only for who reduces it. */
function secondEncoding(): Buffer {
  const { p } = p256.Point.CURVE()
  const small = Array.from({ length: 64 }, (_, x) => x).find((x) => {
    try {
      return p256.Point.fromBytes(compressedPoint(x))
    } catch {
      return false
    }
  })!
  const { y } = p256.Point.fromBytes(compressedPoint(small))
  const coordinates = [p + BigInt(small), y].map((value) => value.toString(16).padStart(64, '0')).join('')
  return Buffer.concat([spki.subarray(0, 27), Buffer.from(coordinates, 'hex')])
}

function compressedPoint(x: number): Buffer {
  return Buffer.from(`02${x.toString(16).padStart(64, '0')}`, 'hex')
}

describe('a certificate of a cluster authority', () => {
  let authority: ClusterAuthority
  let folder: string

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'shoal-leaf-'))
    const made = await makeAuthority({ commonName: `shoal cluster ${cluster}`, validForSeconds: 3600 })
    authority = new ClusterAuthority(made.certificatePem, made.privateKeyPem, 0)
    writeFileSync(join(folder, 'ca.pem'), made.certificatePem)
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  const issue = (claims: CertificateClaims, nowMs = Date.now(), validForSeconds = 1800) =>
    authority.issue({ claims, spki, nowMs, validForSeconds }).certificate

  it.skipIf(mustSkipFor(['openssl'])).each([
    ['node', ['1.3.6.1.5.5.7.3.2'], 'sslclient'],
    ['serve', ['1.3.6.1.5.5.7.3.1'], 'sslserver'],
    ['link', ['1.3.6.1.5.5.7.3.2', '1.3.6.1.5.5.7.3.1'], 'sslserver'],
    ['pull', ['1.3.6.1.5.5.7.3.2', '1.3.6.1.5.5.7.3.1'], 'sslclient'],
  ] as const)(
    'of kind %s is read alike by Node, the general library and OpenSSL',
    async (kind, usages, purpose) => {
      const claims = kind === 'pull' ? pullClaims(3) : { kind, cluster, node }
      const pem = issue(claims)
      const certificate = new X509Certificate(pem)
      expect(claimsOf(certificate)).toEqual(claims)
      expect(certificate.ca).toBe(false)
      expect(certificate.keyUsage).toEqual(usages)
      expect(certificate.checkPrivateKey(key)).toBe(true)
      expect(certificate.serialNumber).toMatch(/^[4-7][0-9A-F]{31}$/)

      const read = new x509.X509Certificate(pem)
      expect(
        await read.verify({ publicKey: new x509.X509Certificate(authority.certificatePem).publicKey }),
      ).toBe(true)
      expect(read.issuer).toBe(`CN=shoal cluster ${cluster}`)
      expect(read.getExtension(x509.KeyUsagesExtension)).toMatchObject({ usages: 1, critical: true })
      expect(read.getExtension(x509.BasicConstraintsExtension)).toMatchObject({ ca: false, critical: true })
      const issuer = new x509.X509Certificate(authority.certificatePem)
      const identifier = issuer.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId
      expect(read.getExtension(x509.AuthorityKeyIdentifierExtension)?.keyId).toBe(identifier)
      // Written by the library from what it read, the certificate is the same to the byte.
      expect(Buffer.from(read.rawData).equals(certificate.raw)).toBe(true)

      const file = join(folder, `${kind}.pem`)
      writeFileSync(file, pem)
      const args = ['verify', '-x509_strict', '-purpose', purpose, '-CAfile', join(folder, 'ca.pem'), file]
      expect(execFileSync('openssl', args, { encoding: 'utf8' })).toBe(`${file}: OK\n`)
      const text = execFileSync('openssl', ['x509', '-in', file, '-noout', '-text'], { encoding: 'utf8' })
      expect(text).toContain('Signature Algorithm: ecdsa-with-SHA256')
      expect(text).toContain(`Subject: CN = shoal ${kind} ${node}`)
    },
  )

  it('carries as many blobs as a grant may have', () => {
    const certificate = new X509Certificate(issue(pullClaims(128)))
    expect(claimsOf(certificate)).toEqual(pullClaims(128))
  })

  it('starts five minutes early and ends when it should, on both sides of 2050', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 4_000_000_000 }),
        fc.integer({ min: 60, max: 24 * 3600 }),
        (at, seconds) => {
          const certificate = new X509Certificate(issue({ kind: 'node', cluster, node }, at * 1000, seconds))
          expect(certificate.validFromDate.getTime()).toBe(at * 1000 - 300_000)
          expect(certificate.validToDate.getTime()).toBe((at + seconds) * 1000)
        },
      ),
      {
        numRuns: 200,
        examples: [
          [2524608000, 60],
          [2524607999, 3600],
        ],
      },
    )
  })

  it('is issued for ECDSA P-256 keys only', () => {
    const other = generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey
    const offCurve = Buffer.from(spki)
    offCurve[90]! ^= 1
    const compressed = Buffer.from(spki)
    compressed[26] = 2
    for (const bytes of [
      spkiOf(other),
      spkiOf(rsa),
      offCurve,
      compressed,
      secondEncoding(),
      Buffer.concat([spki, spki]),
      Buffer.alloc(0),
    ]) {
      expect(() => checkedP256Spki(bytes)).toThrow(expect.objectContaining({ code: 'INVALID_INPUT' }))
    }
  })
})
