import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { NO_LINKS, NodeIdentity } from '../../../client/membership/node-identity.ts'
import type { TrackerClient } from '../../../client/membership/tracker-client.ts'
import { makeAuthority } from '../../../core/issue-certificate.ts'
import type { ClusterId } from '../../../core/metainfo.ts'
import { ClusterAuthority } from '../../../tracker/authority/cluster-authority.ts'

const DAY_MS = 24 * 3600 * 1000
const cluster = `c${'1'.repeat(16)}` as ClusterId

let dataDir: string
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'shoal-identity-'))
})
afterEach(() => rmSync(dataDir, { recursive: true }))

/** Asking it would fail the test: nothing is there to be shown. */
const tracker = {} as TrackerClient
const joining = (identity: NodeIdentity) => identity.join(tracker, undefined, NO_LINKS)

test('a node that was off for more than a day says when its certificate ended, and how to go on', async () => {
  const { node, publicKey } = await NodeIdentity.load(dataDir)
  const { certificatePem, privateKeyPem } = await makeAuthority({ commonName: 'c', validForSeconds: 600 })
  const nowMs = Date.UTC(2026, 0, 2, 3, 4)
  const { certificate } = new ClusterAuthority(certificatePem, privateKeyPem, nowMs).issue({
    claims: { kind: 'node', cluster, node },
    spki: Buffer.from(publicKey, 'base64url'),
    nowMs,
    validForSeconds: DAY_MS / 1000,
  })
  writeFileSync(join(dataDir, 'node.pem'), certificate)
  await expect(joining(await NodeIdentity.load(dataDir))).rejects.toMatchObject({
    message: expect.stringContaining('its certificate ended at 2026-01-03 03:04 UTC'),
    hint: expect.stringContaining('shoal join'),
  })
})

test('a node that never joined says so', async () => {
  await expect(joining(await NodeIdentity.load(dataDir))).rejects.toMatchObject({
    message: expect.stringContaining('has not joined a cluster yet'),
  })
})
