import { expect, test } from 'vitest'
import { RateLimit } from '../../../client/engine/rate-limit.ts'
import { RegistryAccess } from '../../../client/origin/registry-access.ts'
import type { StoredBlob } from '../../../client/store/blob-store.ts'
import { digestFromHex } from '../../../core/digest.ts'
import type { RegistryClient } from '../../../core/registry-client.ts'
import { RegistryLimit } from '../../../core/registry-limit.ts'
import { parseRegistryHost, parseRepository } from '../../../core/repository.ts'

test('the registry gets the repository and the credential of the newest request', async () => {
  const asked: string[] = []
  const registry = {
    config: {},
    dispatcher: {
      request: async ({ path, headers }: { path: string; headers: Record<string, string> }) => {
        asked.push(`${path.split('/blobs/')[0]} ${headers.authorization}`)
        throw new Error('not in this test')
      },
    },
    limit: new RegistryLimit(),
  } as unknown as RegistryClient
  const stored = {
    key: { registry: parseRegistryHost('registry.example'), digest: digestFromHex('d'.repeat(64)) },
    layout: { pieceCount: 1, pieceBytes: 1024, blobBytes: 1024 },
    repository: 'team/first',
  } as unknown as StoredBlob
  const access = new RegistryAccess(stored, {
    registry,
    downloadLimit: new RateLimit(0, () => 0),
    registryLimit: new RateLimit(0, () => 0),
  })
  for (const name of ['first', 'other']) {
    access.admit({
      repository: parseRepository(`team/${name}`),
      credential: { scheme: 'bearer', token: `token-of-${name}` },
    })
    await access
      .stream(0, 1, AbortSignal.timeout(1000))
      .open()
      .catch(() => undefined)
  }
  expect(asked).toEqual(['/v2/team/first Bearer token-of-first', '/v2/team/other Bearer token-of-other'])
})
