import { createPrivateKey, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { dirname, resolve } from 'node:path'
import { NoCertificateError } from '../../certs-tool/errors.ts'
import { readTextFile, writeNewFiles } from '../../certs-tool/key-files.ts'
import { chainOf, issueTrackerTls } from '../../certs-tool/tracker-certificates.ts'
import { command } from '../../core/command.ts'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import { restartUnit } from './service.ts'
import { CONFIG_FILE, TRACKER_UNIT, tlsFiles } from './tracker-files.ts'

/** `shoal tracker renew`: the next certificate, for the same names and from the same authority, in the place of the last one. */

export const trackerRenewCommand = command({
  positionals: [],
  flags: {
    'config-file': {
      type: 'string',
      value: 'file',
      default: CONFIG_FILE,
      description: 'The settings that `shoal tracker init` wrote; certificate and keys are beside it.',
    },
  },
  async run(values) {
    const files = tlsFiles(dirname(resolve(values['config-file'])))
    const before = certificateIn(files.tls)
    const authority = authorityIn(files)
    const names = namesOf(before)
    const tls = await issueTrackerTls(authority, { names })
    writeNewFiles(
      [
        { path: files.tlsKey, content: tls.privateKeyPem, isSecret: true },
        { path: files.tls, content: chainOf(tls, authority), isSecret: false },
      ],
      true,
    )
    const until = new X509Certificate(tls.certificatePem).validToDate.toISOString().slice(0, 10)
    const restarted = await restartUnit(TRACKER_UNIT)
    return `${[
      `The tracker's certificate for ${names.join(', ')} lasts until ${until}.`,
      `  ${files.tls}`,
      `  ${files.tlsKey}`,
      restarted === 'restarted'
        ? `${TRACKER_UNIT} was restarted.`
        : 'The tracker uses it from its next start on: restart it.',
    ].join('\n')}\n`
  },
})

function certificateIn(path: string): X509Certificate {
  try {
    return new X509Certificate(readTextFile(path))
  } catch (cause) {
    throw new NoCertificateError(`${path} holds no certificate that can be read`, {
      cause,
      hint: '`shoal tracker init` makes one. Nothing was changed.',
    })
  }
}

/** @throws NoCertificateError */
function authorityIn(files: ReturnType<typeof tlsFiles>): KeyedCertificate {
  const certificate = certificateIn(files.authority)
  const privateKeyPem = readTextFile(files.authorityKey)
  let isItsKey = false
  try {
    isItsKey = certificate.ca && certificate.checkPrivateKey(createPrivateKey(privateKeyPem))
  } catch {
    // No key at all.
  }
  if (isItsKey) return { certificatePem: certificate.toString(), privateKeyPem }
  throw new NoCertificateError(`${files.authorityKey} is not the key of ${files.authority}`, {
    hint: 'Nothing was changed.',
  })
}

/** `DNS:tracker.example.com, IP Address:10.0.0.5, IP Address:0:0:0:0:0:0:0:1` */
function namesOf(certificate: X509Certificate): string[] {
  const names = (certificate.subjectAltName ?? '')
    .split(', ')
    .map((name) => name.slice(name.indexOf(':') + 1))
  return names.map((name) => (isIP(name) === 6 ? new URL(`http://[${name}]`).hostname.slice(1, -1) : name))
}
