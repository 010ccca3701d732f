import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { makeAuthority } from '../../core/issue-certificate.ts'
import { issueForLocalhost } from '../../lab/machine/localhost-certificate.ts'
import { TLS_FILES_LOOK_MS, TlsFiles } from '../../tracker/tls-files.ts'
import { startWorld } from './test-tracker.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-tls-'))
})
afterEach(() => {
  vi.useRealTimers()
  rmSync(folder, { recursive: true })
})

async function issued() {
  const authority = await makeAuthority({ commonName: 'site', validForSeconds: 3600 })
  const leaf = await issueForLocalhost(authority)
  return { ca: authority.certificatePem, cert: leaf.certificatePem, key: leaf.privateKeyPem }
}

const at = (name: string) => join(folder, name)
const filesIn = () =>
  new TlsFiles({
    certFile: { name: 'tlsCertFile', path: at('tls.crt') },
    keyFile: { name: 'tlsKeyFile', path: at('tls.key') },
  })

describe('a certificate in files', () => {
  it('is taken up when both files are there, and not between', async () => {
    const [first, second] = [await issued(), await issued()]
    writeFileSync(at('tls.crt'), first.cert)
    writeFileSync(at('tls.key'), first.key)
    const files = filesIn()
    expect(files.refresh()).toBe(false)
    writeFileSync(at('tls.crt'), second.cert)
    expect(() => files.refresh()).toThrow(expect.objectContaining({ code: 'CONFIG' }))
    expect(files.current.privateKeyPem).toBe(first.key.trim())
    writeFileSync(at('tls.key'), second.key)
    expect(files.refresh()).toBe(true)
    expect(files.current).toEqual({ certificatePem: second.cert.trim(), privateKeyPem: second.key.trim() })
    rmSync(at('tls.crt'))
    expect(() => files.refresh()).toThrow(expect.objectContaining({ code: 'CONFIG' }))
    expect(files.current.certificatePem).toBe(second.cert.trim())
  })

  it('is refused at the start with the key of another', async () => {
    writeFileSync(at('tls.crt'), (await issued()).cert)
    writeFileSync(at('tls.key'), (await issued()).key)
    expect(filesIn).toThrow(expect.objectContaining({ code: 'CONFIG' }))
  })
})

it('a tracker shows nodes and administrators the certificates that replaced the first, without a restart', async () => {
  const [first, second] = [await issued(), await issued()]
  writeFileSync(at('admin.crt'), first.cert)
  writeFileSync(at('admin.key'), first.key)
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  const tracker = { adminTlsCertFile: at('admin.crt'), adminTlsKeyFile: at('admin.key') }
  const world = await startWorld({ tracker })
  try {
    const { adminAddress, address } = world.tracker
    expect(await shownAt(adminAddress.port, first.ca)).toBe('verified')
    writeFileSync(at('admin.crt'), second.cert)
    writeFileSync(at('admin.key'), second.key)
    writeFileSync(world.config.tlsCertFile, second.cert)
    writeFileSync(world.config.tlsKeyFile, second.key)
    vi.advanceTimersByTime(TLS_FILES_LOOK_MS)
    await vi.waitFor(async () => expect(await shownAt(adminAddress.port, second.ca)).toBe('verified'), 10_000)
    expect(await shownAt(address.port, second.ca)).toBe('verified')
    expect(await shownAt(adminAddress.port, first.ca)).not.toBe('verified')
  } finally {
    await world.close()
  }
})

function shownAt(port: number, ca: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: 'localhost', ca }, () => {
      resolve('verified')
      socket.destroy()
    })
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
  })
}
