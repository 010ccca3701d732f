import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import * as x509 from '@peculiar/x509'
import { issueLeaf, type KeyedCertificate } from '../../core/issue-certificate.ts'
import type { OddRegistry } from './manners.ts'
import { CLIENT_NAME } from './odd-answers.ts'

/** Certificates of the odd registries, and what clients are told to trust for each. */

const SECONDS = 7 * 24 * 3600
const KEY = { name: 'ECDSA', namedCurve: 'P-256' } as const
const SIGNATURE = { name: 'ECDSA', hash: 'SHA-256' } as const

export interface OddCertificates {
  default: KeyedCertificate
  /** Registries whose certificate is another. */
  byName: Record<string, KeyedCertificate>
  /** What clients trust for a registry, as PEM. */
  trustedFor(registry: OddRegistry): string
  /** For registries that ask for one. */
  client: KeyedCertificate
}

/** @param lab signs the certificates of all that have no peculiarity */
export async function makeOddCertificates(
  lab: KeyedCertificate,
  registries: OddRegistry[],
): Promise<OddCertificates> {
  const names = registries.map(({ name }) => ({ type: 'dns' as const, value: name }))
  const common = { validForSeconds: SECONDS }
  const ordinary = await issueLeaf(lab, { commonName: 'field', ...common, names, usages: ['serverAuth'] })
  const client = await issueLeaf(lab, {
    commonName: CLIENT_NAME,
    ...common,
    names: [{ type: 'dns', value: 'client.field.test' }],
    usages: ['clientAuth'],
  })
  const byName: Record<string, KeyedCertificate> = {}
  const trusted = new Map<string, string>()
  for (const { name, trust } of registries) {
    const made = await peculiar(name, trust)
    if (made === undefined) continue
    byName[name] = made.shown
    trusted.set(name, made.trustedPem)
  }
  return {
    ...{ default: ordinary, byName, client },
    trustedFor: ({ name }) => trusted.get(name) ?? lab.certificatePem,
  }
}

interface Peculiar {
  shown: KeyedCertificate
  trustedPem: string
}

/** A chain of three. Clients get the issuing authority or the leaf, never the root. */
async function peculiar(name: string, trust: OddRegistry['trust']): Promise<Peculiar | undefined> {
  if (trust === 'self-signed') {
    const own = await makeCertificate('registry', { name })
    return { shown: keyed(own), trustedPem: own.certificate.toString('pem') }
  }
  if (trust !== 'issuing-authority' && trust !== 'leaf') return undefined
  const root = await makeCertificate('field root', {})
  const issuing = await makeCertificate('field issuing authority', { issuer: root })
  const leaf = await makeCertificate('registry', { issuer: issuing, name })
  const issuingPem = issuing.certificate.toString('pem')
  // The client that has the leaf as its anchor is also shown the authority between.
  if (trust === 'leaf') {
    return { shown: keyed(leaf, issuingPem), trustedPem: leaf.certificate.toString('pem') }
  }
  return { shown: keyed(leaf), trustedPem: issuingPem }
}

interface Signed {
  certificate: x509.X509Certificate
  keys: webcrypto.CryptoKeyPair
  privateKeyPem: string
}

/** Without `name` an authority; without `issuer` signed by itself. */
async function makeCertificate(
  commonName: string,
  { issuer, name }: { issuer?: Signed; name?: string },
): Promise<Signed> {
  const keys = (await webcrypto.subtle.generateKey(KEY, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair
  const subject = `CN=${commonName}`
  const usage = new x509.KeyUsagesExtension(
    name ? x509.KeyUsageFlags.digitalSignature : x509.KeyUsageFlags.keyCertSign,
    true,
  )
  const certificate = await x509.X509CertificateGenerator.create({
    subject,
    issuer: issuer?.certificate.subject ?? subject,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + SECONDS * 1000),
    publicKey: keys.publicKey,
    signingKey: (issuer?.keys ?? keys).privateKey,
    signingAlgorithm: SIGNATURE,
    extensions: [
      new x509.BasicConstraintsExtension(name === undefined, undefined, true),
      usage,
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create((issuer?.keys ?? keys).publicKey),
      ...(name === undefined
        ? []
        : [new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: name }])]),
    ],
  })
  const exported = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)
  return { certificate, keys, privateKeyPem: x509.PemConverter.encode(exported, 'PRIVATE KEY') }
}

function keyed({ certificate, privateKeyPem }: Signed, chainPem = ''): KeyedCertificate {
  return { certificatePem: `${certificate.toString('pem')}\n${chainPem}`, privateKeyPem }
}
