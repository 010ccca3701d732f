import { X509Certificate } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { claimsOf } from '../../core/certificate-claims.ts'
import { spkiOf } from '../../core/issue-certificate.ts'
import { nodeIdOf } from '../../core/metainfo.ts'
import {
  newJoinToken,
  newKey,
  publicKeyOf,
  sha256,
  startWorld,
  type TestCluster,
  type World,
} from './test-tracker.ts'

describe('a node', () => {
  let world: World
  let lab: TestCluster

  beforeAll(async () => {
    world = await startWorld()
    lab = await world.makeCluster()
  })
  afterAll(() => world.close())

  it('joins with the join token and gets a certificate for its own key', async () => {
    const node = world.newNode()
    const { status, body } = await node.join(lab.joinToken)
    expect(status).toBe(200)
    expect(body.cluster).toBe(lab.cluster)
    expect(body.node).toBe(nodeIdOf(spkiOf(node.key)))
    const certificate = new X509Certificate(body.certificate)
    expect(claimsOf(certificate)).toEqual({ kind: 'node', cluster: lab.cluster, node: body.node })
    expect(certificate.checkPrivateKey(node.key)).toBe(true)
    expect(certificate.verify(new X509Certificate(body.authorities[0]).publicKey)).toBe(true)
    expect(body.validForSeconds).toBe(24 * 3600)
  })

  it.each([
    ['another token of the same cluster', () => newJoinToken(lab.cluster)],
    ['a token of a cluster that does not exist', () => newJoinToken('c0000000000000000' as never)],
    ['text that is no token', () => 'open sesame'],
    ['an empty token', () => ''],
  ])('is refused with %s', async (_, token) => {
    const { status, body } = await world.newNode().join(token())
    expect([status, body.error.code]).toEqual([403, 'JOIN_REFUSED'])
  })

  it('needs a token or a certificate to join', async () => {
    const { status, body } = await world.newNode().post('/v1/nodes', { publicKey: publicKeyOf(newKey()) })
    expect([status, body.error.code]).toEqual([401, 'CERTIFICATE_REQUIRED'])
  })

  it('is refused with the old token after it was rotated, and joins with the new one', async () => {
    const cluster = await world.makeCluster('rotating')
    const next = newJoinToken(cluster.cluster)
    const hash = sha256(next)
    const path = `/admin/v1/clusters/${cluster.cluster}/join-token`
    expect((await world.admin().request('PUT', path, { hash })).status).toBe(200)
    expect((await world.newNode().join(cluster.joinToken)).body.error.code).toBe('JOIN_TOKEN_REVOKED')
    expect((await world.newNode().join(next)).status).toBe(200)
  })

  it('is refused with a token whose time is over', async () => {
    const cluster = await world.makeCluster('short')
    const hash = sha256(cluster.joinToken)
    const path = `/admin/v1/clusters/${cluster.cluster}/join-token`
    await world.admin().request('PUT', path, { hash, validForSeconds: 60 })
    expect((await world.newNode().join(cluster.joinToken)).status).toBe(200)
    world.clockOffsetMs = 61_000
    const { body } = await world.newNode().join(cluster.joinToken)
    world.clockOffsetMs = 0
    expect(body.error.code).toBe('JOIN_TOKEN_EXPIRED')
  })

  it('renews over its own certificate without a token', async () => {
    const node = await world.joined(lab)
    const { status, body } = await node.post('/v1/nodes', { publicKey: publicKeyOf(node.key) })
    expect([status, body.node]).toEqual([200, node.node])
    expect(body.certificate).not.toBe(node.certificate)
  })

  it('cannot renew for another key', async () => {
    const node = await world.joined(lab)
    const { status, body } = await node.post('/v1/nodes', { publicKey: publicKeyOf(newKey()) })
    expect([status, body.error.code]).toEqual([403, 'KEY_MISMATCH'])
  })

  it('is refused once its certificate has ended, also on a connection that is still open', async () => {
    const node = await world.joined(lab)
    expect((await node.heartbeat()).status).toBe(200)
    world.clockOffsetMs = 25 * 3600 * 1000
    const { status, body } = await node.heartbeat()
    world.clockOffsetMs = 0
    expect([status, body.error.code]).toEqual([401, 'CERTIFICATE_REFUSED'])
  })

  it.each([
    ['a P-384 key', 'MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE'],
    ['nothing', ''],
    ['a point that is not on the curve', publicKeyOf(newKey()).slice(0, -6).concat('AAAAAA')],
  ])('cannot have %s certified', async (_, publicKey) => {
    const { status, body } = await world.newNode().post('/v1/nodes', { joinToken: lab.joinToken, publicKey })
    expect([status, body.error.code]).toEqual([400, 'INVALID_INPUT'])
  })

  it('reaches nothing but the join without a certificate', async () => {
    const { status, body } = await world.newNode().heartbeat()
    expect([status, body.error.code]).toEqual([401, 'CERTIFICATE_REQUIRED'])
  })

  it('of another tracker is refused, whatever its certificate says', async () => {
    const elsewhere = await startWorld()
    const twin = await elsewhere.makeCluster()
    const stranger = await elsewhere.joined(twin)
    const caller = world.newNode()
    await caller.present(stranger.identity)
    const { status, body } = await caller.heartbeat()
    await elsewhere.close()
    expect([status, body.error.code]).toEqual([401, 'CERTIFICATE_REFUSED'])
  })

  it('does not get in with a pull or serve certificate', async () => {
    const node = await world.joined(lab)
    const key = newKey()
    const pem = key.export({ type: 'pkcs8', format: 'pem' }) as string
    const pull = await node.pull({ publicKey: publicKeyOf(key) })
    const serve = await node.heartbeat({ servePublicKey: publicKeyOf(key) })
    const caller = world.newNode()
    await caller.present({ cert: pull.body.certificate, key: pem })
    expect((await caller.heartbeat()).body.error.code).toBe('CERTIFICATE_KIND')
    await caller.present({ cert: serve.body.serveCertificate.certificate, key: pem })
    expect([401, 403]).toContain((await caller.heartbeat()).status)
  })
})
