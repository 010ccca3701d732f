import { issueLeaf, type KeyedCertificate } from '../../core/issue-certificate.ts'

/** A server's certificate for `localhost`: what a part of a benchmark or test shows on this machine. */
export function issueForLocalhost(
  authority: KeyedCertificate,
  validForSeconds = 3600,
): Promise<KeyedCertificate> {
  return issueLeaf(authority, {
    commonName: 'localhost',
    validForSeconds,
    names: [{ type: 'dns', value: 'localhost' }],
    usages: ['serverAuth'],
  })
}
