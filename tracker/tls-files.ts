import { createPrivateKey, X509Certificate } from 'node:crypto'
import { statSync } from 'node:fs'
import type { Logger } from 'pino'
import { ConfigError, readSecretFile } from '../core/config.ts'

/** How often the files of a listener's certificate are looked at: sites renew certificates days before they end. */
export const TLS_FILES_LOOK_MS = 10_000

export interface CertificateAndKey {
  certificatePem: string
  privateKeyPem: string
}

export interface TlsPaths {
  certFile: { name: string; path: string }
  keyFile: { name: string; path: string }
}

/**
 * A listener's certificate and key in files that somebody else may replace while the tracker runs. Looks at them again and
 * again, since a file that is swapped behind a symbolic link (as Kubernetes does) tells no watcher. Invariant: `current` is
 * a certificate with its own key.
 */
export class TlsFiles {
  readonly #paths: TlsPaths
  #stamp: string
  #current: CertificateAndKey

  /** @throws ConfigError */
  constructor(paths: TlsPaths) {
    this.#paths = paths
    this.#stamp = this.#stampNow()
    this.#current = this.#read()
  }

  get current(): CertificateAndKey {
    return this.#current
  }

  /** Takes up what is in the files. @returns whether it is another certificate @throws ConfigError, and nothing changes */
  refresh(): boolean {
    const stamp = this.#stampNow()
    if (stamp === this.#stamp) return false
    const before = this.#current
    this.#current = this.#read()
    this.#stamp = stamp
    return (
      before.certificatePem !== this.#current.certificatePem ||
      before.privateKeyPem !== this.#current.privateKeyPem
    )
  }

  /** @returns a function that ends it */
  follow(onChange: () => void, log: Pick<Logger, 'info' | 'error'>): () => void {
    const { path } = this.#paths.certFile
    let complained = ''
    const look = () => {
      try {
        if (!this.refresh()) return
        complained = ''
        onChange()
        log.info({ path }, 'a listener’s certificate was replaced, and is shown from now on')
      } catch (err) {
        // One of two files may be there before the other: the next look finds both.
        const { message } = err as Error
        if (message === complained) return
        complained = message
        log.error(
          { err, path },
          'a listener’s certificate was replaced by one that cannot be used; the last one stays',
        )
      }
    }
    const timer = setInterval(look, TLS_FILES_LOOK_MS).unref()
    return () => clearInterval(timer)
  }

  #stampNow(): string {
    const { certFile, keyFile } = this.#paths
    return [certFile, keyFile]
      .map(({ path }) => statSync(path, { throwIfNoEntry: false }))
      .map((stat) => (stat === undefined ? 'absent' : `${stat.ino} ${stat.mtimeMs} ${stat.size}`))
      .join()
  }

  #read(): CertificateAndKey {
    const { certFile, keyFile } = this.#paths
    const certificatePem = readSecretFile(certFile.path, certFile.name)
    const privateKeyPem = readSecretFile(keyFile.path, keyFile.name)
    if (!belongTogether(certificatePem, privateKeyPem)) {
      throw new ConfigError(`${keyFile.name}: ${keyFile.path} is not the key of ${certFile.path}`, {
        hint: 'Both are PEM files; the first certificate is the listener’s own.',
      })
    }
    return { certificatePem, privateKeyPem }
  }
}

function belongTogether(certificatePem: string, privateKeyPem: string): boolean {
  try {
    return new X509Certificate(certificatePem).checkPrivateKey(createPrivateKey(privateKeyPem))
  } catch {
    return false
  }
}
