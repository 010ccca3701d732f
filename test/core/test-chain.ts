import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface TestChain {
  root: string
  /** Signed by the root. */
  issuing: string
  /** Signed by the issuing authority, for `localhost`. */
  leaf: string
  leafKey: string
  /** Signs itself, for `localhost`, and is no authority. */
  selfSigned: string
  selfSignedKey: string
}

/** Where there is no OpenSSL to make one, and nothing looks at it. */
export const NO_CHAIN: TestChain = {
  ...{ root: '', issuing: '', leaf: '', leafKey: '', selfSigned: '', selfSignedKey: '' },
}

/** A company's certificates as OpenSSL makes them: root, issuing authority, server. PEM. */
export function makeChain(): TestChain {
  const folder = mkdtempSync(join(tmpdir(), 'shoal-chain-'))
  const ssl = (...argv: string[]) => execFileSync('openssl', argv, { cwd: folder, stdio: 'pipe' })
  const read = (name: string) => readFileSync(join(folder, name), 'utf8')
  try {
    for (const name of ['root', 'issuing', 'leaf', 'self'])
      ssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', `${name}.key`)
    writeFileSync(
      join(folder, 'issuing.ext'),
      'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n',
    )
    writeFileSync(
      join(folder, 'leaf.ext'),
      'basicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\nauthorityKeyIdentifier=keyid\n',
    )
    ssl(...'req -x509 -new -key root.key -subj /CN=Root -days 2 -out root.crt'.split(' '))
    for (const [name, by] of [
      ['issuing', 'root'],
      ['leaf', 'issuing'],
    ]) {
      ssl(...`req -new -key ${name}.key -subj /CN=${name} -out ${name}.csr`.split(' '))
      const signer = `-CA ${by}.crt -CAkey ${by}.key -CAcreateserial -days 2 -extfile ${name}.ext`
      ssl(...`x509 -req -in ${name}.csr ${signer} -out ${name}.crt`.split(' '))
    }
    ssl(
      ...'req -x509 -new -key self.key -subj /CN=localhost -days 2 -out self.crt'.split(' '),
      ...['-addext', 'subjectAltName=DNS:localhost', '-addext', 'basicConstraints=critical,CA:FALSE'],
    )
    return {
      ...{ root: read('root.crt'), issuing: read('issuing.crt') },
      ...{ leaf: read('leaf.crt'), leafKey: read('leaf.key') },
      ...{ selfSigned: read('self.crt'), selfSignedKey: read('self.key') },
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
}
