import { createPrivateKey, X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { command } from '../../core/command.ts'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import { NoCertificateError } from '../errors.ts'
import { readTextFile, writeNewFiles } from '../key-files.ts'
import {
  chainOf,
  issueTrackerTls,
  ownHostNames,
  parseDays,
  TRACKER_DAYS_DEFAULT,
} from '../tracker-certificates.ts'
import { AUTHORITY_CERTIFICATE_FILE, AUTHORITY_KEY_FILE } from './authority.ts'

export const trackerTlsCommand = command({
  positionals: [],
  flags: {
    name: {
      type: 'string',
      multiple: true,
      value: 'host or address',
      description:
        "Name or address by which nodes reach the tracker; may be repeated. This machine's name, localhost, 127.0.0.1 and ::1 are always included.",
    },
    'authority-dir': {
      type: 'string',
      value: 'folder',
      default: '.',
      description: `Folder with ${AUTHORITY_CERTIFICATE_FILE} and ${AUTHORITY_KEY_FILE}.`,
    },
    'out-dir': { type: 'string', value: 'folder', default: '.', description: 'Folder for the files.' },
    days: {
      type: 'string',
      value: 'number',
      default: String(TRACKER_DAYS_DEFAULT),
      description: 'Validity.',
    },
    force: { type: 'boolean', description: 'Replace files that exist.' },
  },
  async run(values) {
    const authority = readAuthority(values['authority-dir'])
    const names = [...ownHostNames(), ...values.name]
    const issued = await issueTrackerTls(authority, { names, days: parseDays(values.days) })
    const certificate = join(values['out-dir'], 'tracker.crt')
    const key = join(values['out-dir'], 'tracker.key')
    const files = [
      { path: key, content: issued.privateKeyPem, isSecret: true },
      { path: certificate, content: chainOf(issued, authority), isSecret: false },
    ]
    writeNewFiles(files, values.force)
    return `${certificate}  shoal tracker --tls-cert-file\n${key}  shoal tracker --tls-key-file\n`
  },
})

/** @throws NoCertificateError if certificate and key are malformed, or do not belong together */
function readAuthority(folder: string): KeyedCertificate {
  const certificatePem = readTextFile(join(folder, AUTHORITY_CERTIFICATE_FILE))
  const privateKeyPem = readTextFile(join(folder, AUTHORITY_KEY_FILE))
  const hint = 'shoal certs authority makes both.'
  try {
    const certificate = new X509Certificate(certificatePem)
    if (certificate.ca && certificate.checkPrivateKey(createPrivateKey(privateKeyPem))) {
      return { certificatePem, privateKeyPem }
    }
  } catch (cause) {
    throw new NoCertificateError(`${folder} holds no authority that can be read`, { cause, hint })
  }
  throw new NoCertificateError(
    `${AUTHORITY_CERTIFICATE_FILE} and ${AUTHORITY_KEY_FILE} in ${folder} do not belong together`,
    { hint },
  )
}
