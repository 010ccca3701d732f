import { X509Certificate } from 'node:crypto'
import { command } from '../../core/command.ts'
import { clusterOfJoinToken } from '../../core/join-token.ts'
import { factsOf } from '../certificate-facts.ts'
import { certificateText } from '../certificate-text.ts'
import { NoCertificateError } from '../errors.ts'
import { readFileBytes } from '../key-files.ts'

/** Bound of certificates shown from one file: the system's own store has about 150. */
const CERTIFICATES_MAX = 500
const PEM_BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----[\s\S]+?-----END \1-----/g

export const inspectCommand = command({
  positionals: ['file…'],
  flags: { json: { type: 'boolean', description: 'Print a JSON array instead.' } },
  async run({ json }, paths) {
    const files = paths.map((path) => ({ path, ...contentOf(path) }))
    if (json) {
      const facts = files.flatMap(({ path, certificates }) =>
        certificates.map((one) => ({ file: path, ...factsOf(one, certificates) })),
      )
      return `${JSON.stringify(facts, null, 2)}\n`
    }
    return `${files.map(fileText).join('\n\n')}\n`
  },
})

interface FileContent {
  certificates: X509Certificate[]
  /** Names of other contents, for people: private keys, …; the contents are never shown. */
  others: string[]
}

function fileText({ path, certificates, others }: FileContent & { path: string }): string {
  const now = new Date()
  const parts = certificates.map((certificate, index) => {
    const which = certificates.length === 1 ? '' : `, certificate ${index + 1} of ${certificates.length}`
    return `${path}${which}\n${certificateText(factsOf(certificate, certificates), now)}`
  })
  const rest = others.length === 0 ? [] : [`${path} also holds: ${others.join(', ')}`]
  return [...parts, ...rest].join('\n\n')
}

/** @throws NoCertificateError if there is none, or one cannot be read */
function contentOf(path: string): FileContent {
  const bytes = readFileBytes(path)
  const blocks = [...bytes.toString('latin1').matchAll(PEM_BLOCK)]
  if (blocks.length > CERTIFICATES_MAX) {
    throw new NoCertificateError(`${path} holds ${blocks.length} PEM blocks`, {
      hint: `Split the file: at most ${CERTIFICATES_MAX} are shown.`,
    })
  }
  const pems = blocks.filter(([, label]) => label === 'CERTIFICATE').map(([pem]) => pem)
  const others = blocks.flatMap(([, label = '']) => (label === 'CERTIFICATE' ? [] : [otherText(label)]))
  if (pems.length > 0) return { certificates: pems.map((pem) => parse(path, pem)), others }
  if (others.length > 0) throw noCertificate(path, `${others.join(', ')}, and no certificate`)
  return { certificates: [derOf(path, bytes)], others: [] }
}

function otherText(label: string): string {
  return label.endsWith('PRIVATE KEY') ? 'a private key (not shown)' : label.toLowerCase()
}

/** Not PEM: DER, or another of Shoal's files that somebody took for a certificate. */
function derOf(path: string, bytes: Buffer): X509Certificate {
  const text = bytes.toString('latin1').trim()
  const cluster = clusterOfJoinToken(text)
  if (cluster !== undefined) throw noCertificate(path, `the join token of cluster ${cluster}`)
  if (text.startsWith('SHOALKEY-1-')) throw noCertificate(path, 'an unlock key')
  return parse(path, bytes)
}

function parse(path: string, certificate: string | Buffer): X509Certificate {
  try {
    return new X509Certificate(certificate)
  } catch (cause) {
    throw new NoCertificateError(`${path} holds no certificate that can be read`, {
      cause,
      hint: 'Expected PEM (-----BEGIN CERTIFICATE-----) or DER.',
    })
  }
}

function noCertificate(path: string, what: string): NoCertificateError {
  return new NoCertificateError(`${path} holds ${what}`, { hint: 'Name a file with a certificate.' })
}
