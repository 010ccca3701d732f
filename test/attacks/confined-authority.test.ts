import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect } from 'vitest'
import {
  issueLeaf,
  type KeyedCertificate,
  type LeafOptions,
  makeAuthority,
} from '../../core/issue-certificate.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { attackTest, controlTest } from './ledger.ts'
import { loot } from './loot.ts'

/** Somebody who has the key of the proxy's authority, which every Docker of the machine trusts, and signs with it. */
const REGISTRY = 'registry.example.com'
type Names = LeafOptions['names']

let folder: string
const authorities: Record<string, KeyedCertificate> = {}
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-confined-'))
  const made = (permitted: { dnsNames: string[]; ipAddresses: string[] }) =>
    makeAuthority({ commonName: 'stolen', validForSeconds: 3600, permitted })
  authorities.name = await made({ dnsNames: [REGISTRY], ipAddresses: [] })
  authorities.address = await made({ dnsNames: [], ipAddresses: ['192.0.2.7'] })
})
afterAll(() => rmSync(folder, { recursive: true }))

/** Whether OpenSSL takes a leaf for these names: then the attacker has the bytes of a certificate that counts. */
async function isTaken(kind: string, names: Names): Promise<boolean> {
  const authority = authorities[kind]!
  const leaf = await issueLeaf(authority, {
    ...{ commonName: names.length === 0 ? 'bank.example' : 'leaf', validForSeconds: 600, names },
    usages: ['serverAuth', 'clientAuth'],
  })
  writeFileSync(join(folder, 'ca.pem'), authority.certificatePem)
  writeFileSync(join(folder, 'leaf.pem'), leaf.certificatePem)
  const { status } = spawnSync('openssl', [
    'verify',
    '-CAfile',
    join(folder, 'ca.pem'),
    join(folder, 'leaf.pem'),
  ])
  if (status === 0) loot.bytes += leaf.certificatePem.length
  return status === 0
}

if (!mustSkipFor(['openssl'])) {
  for (const [kind, names] of [
    ['name', [{ type: 'dns', value: `sub.${REGISTRY}` }]],
    ['name', [{ type: 'dns', value: `a.b.${REGISTRY}` }]],
    ['name', [{ type: 'dns', value: `*.${REGISTRY}` }]],
    ['name', [{ type: 'dns', value: `.${REGISTRY}` }]],
    ['name', [{ type: 'dns', value: `SUB.${REGISTRY.toUpperCase()}` }]],
    ['name', [{ type: 'dns', value: `evil${REGISTRY}` }]],
    ['name', [{ type: 'dns', value: `${REGISTRY}.evil.example` }]],
    ['name', [{ type: 'dns', value: 'example.com' }]],
    ['name', [{ type: 'dns', value: '*.example.com' }]],
    ['name', [{ type: 'ip', value: '10.0.0.1' }]],
    ['name', [{ type: 'ip', value: 'fd00::1' }]],
    ['name', [{ type: 'url', value: 'https://bank.example/' }]],
    ['name', [{ type: 'url', value: `https://${REGISTRY}/` }]],
    ['name', [{ type: 'url', value: 'https://nobody.invalid/' }]],
    ['name', [{ type: 'url', value: 'urn:shoal:kind:admin' }]],
    ['name', [{ type: 'email', value: 'root@bank.example' }]],
    ['name', [{ type: 'email', value: `root@${REGISTRY}` }]],
    ['name', [{ type: 'email', value: 'root@nobody.invalid' }]],
    ['name', []],
    ['address', [{ type: 'dns', value: REGISTRY }]],
    ['address', [{ type: 'ip', value: '192.0.2.8' }]],
    ['address', [{ type: 'url', value: 'https://192.0.2.7/' }]],
  ] as [string, Names][]) {
    const what = names.map(({ type, value }) => `${type} ${value}`).join() || 'a common name alone'
    attackTest(
      `an authority for one ${kind} makes no certificate for ${what}, alone or beside its own`,
      async () => {
        const own: Names = [
          kind === 'name' ? { type: 'dns', value: REGISTRY } : { type: 'ip', value: '192.0.2.7' },
        ]
        expect(await isTaken(kind, names)).toBe(false)
        if (names.length > 0) expect(await isTaken(kind, [...own, ...names])).toBe(false)
      },
    )
  }

  controlTest('it makes one for its own host', async () => {
    expect(await isTaken('name', [{ type: 'dns', value: REGISTRY }])).toBe(true)
    expect(await isTaken('address', [{ type: 'ip', value: '192.0.2.7' }])).toBe(true)
  })
}
