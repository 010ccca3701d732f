import { expect, test } from 'vitest'
import { parseRegistryHost } from '../../core/repository.ts'
import {
  AUTHORITY_GRACE_MS,
  AUTHORITY_GRACE_REJECTIONS_MAX,
  REJECTION_KEPT_MS,
  REJECTIONS_PER_USER_MAX,
  Rejections,
  TUNNEL_FIRST_MS,
  TUNNEL_MAX_MS,
} from '../../proxy/intercept/rejections.ts'

const registry = parseRegistryHost('registry.example')
const docker = { uid: 0, executable: '/usr/bin/dockerd' }
const curl = { uid: 0, executable: '/usr/bin/curl' }
const mallory = { uid: 1000, executable: '/usr/bin/dockerd' }

test('a rejection counts against user and program, and no other', () => {
  const rejections = new Rejections(() => 0)
  rejections.note(registry, curl)
  rejections.note(registry, mallory)
  for (const owner of [curl, mallory]) expect(rejections.has(registry, owner)).toBe(true)
  for (const owner of [docker, { uid: 0 }, { uid: 1000 }]) expect(rejections.has(registry, owner)).toBe(false)
  expect(rejections.has(parseRegistryHost('other.example'), curl)).toBe(false)
})

test('a rejection by nobody knows whom counts against nobody', () => {
  const rejections = new Rejections(() => 0)
  expect(rejections.note(registry, undefined)).toBe(0)
  for (const owner of [undefined, docker, { uid: 0 }]) expect(rejections.has(registry, owner)).toBe(false)
})

test('where programs cannot be seen it counts against the user', () => {
  const rejections = new Rejections(() => 0)
  rejections.note(registry, { uid: 1000 })
  for (const owner of [{ uid: 1000 }, mallory]) expect(rejections.has(registry, owner)).toBe(true)
  for (const owner of [{ uid: 0 }, docker]) expect(rejections.has(registry, owner)).toBe(false)
  rejections.clear(registry, mallory)
  expect(rejections.has(registry, { uid: 1000 })).toBe(false)
})

test('a program that is gone before it was seen costs the others of its user nothing; the next connections wait', () => {
  const rejections = new Rejections(() => 0)
  rejections.clear(registry, docker)
  expect(rejections.note(registry, { uid: 0 })).toBe(0)
  expect(rejections.has(registry, docker)).toBe(false)
  expect(rejections.isInDoubt(registry)).toBe(true)
  // Its lookup was waited for, and it still cannot be seen.
  expect(rejections.note(registry, { uid: 0 })).toBe(TUNNEL_FIRST_MS)
  expect(rejections.has(registry, docker)).toBe(true)
})

test('the first is remembered for half a minute, each in a row for twice as long, up to ten minutes', () => {
  let nowMs = 0
  const rejections = new Rejections(() => nowMs)
  const times = Array.from({ length: 7 }, () => {
    const tunnelMs = rejections.note(registry, curl)
    nowMs += tunnelMs - 1
    expect(rejections.has(registry, curl)).toBe(true)
    nowMs += 1
    expect(rejections.has(registry, curl)).toBe(false)
    return tunnelMs / 1000
  })
  expect(times).toEqual([30, 60, 120, 240, 480, 600, 600])
  expect([TUNNEL_FIRST_MS, TUNNEL_MAX_MS]).toEqual([30_000, 600_000])
})

test('one success clears it, and the next counts as the first', () => {
  const rejections = new Rejections(() => 0)
  for (let count = 0; count < 5; count++) rejections.note(registry, docker)
  rejections.clear(registry, curl)
  expect(rejections.has(registry, docker)).toBe(true)
  rejections.clear(registry, docker)
  expect(rejections.has(registry, docker)).toBe(false)
  expect(rejections.note(registry, docker)).toBe(TUNNEL_FIRST_MS)
})

test('a user with many programs pushes out none but his own', () => {
  const rejections = new Rejections(() => 0)
  rejections.note(registry, curl)
  for (let count = 0; count <= REJECTIONS_PER_USER_MAX; count++) {
    rejections.note(registry, { uid: 1000, executable: `/tmp/copy${count}` })
  }
  expect(rejections.has(registry, curl)).toBe(true)
  expect(rejections.has(registry, { uid: 1000, executable: '/tmp/copy0' })).toBe(false)
  expect(rejections.has(registry, { uid: 1000, executable: '/tmp/copy1' })).toBe(true)
})

test('services that run the same program are told apart, logins are not', () => {
  const rejections = new Rejections(() => 0)
  const of = (unit: string) => ({ uid: 0, executable: '/usr/bin/containerd', unit })
  rejections.note(registry, of('k3s.service'))
  expect(rejections.has(registry, of('k3s.service'))).toBe(true)
  expect(rejections.has(registry, of('containerd.service'))).toBe(false)
  rejections.note(registry, { ...curl, unit: 'session-1.scope' })
  expect(rejections.has(registry, { ...curl, unit: 'session-2.scope' })).toBe(true)
})

test('soon after the authority changed a few rejections are free, and the next tunnels', () => {
  let nowMs = 1000
  const rejections = new Rejections(() => nowMs)
  rejections.authorityChanged()
  const beganAtMs = nowMs + AUTHORITY_GRACE_MS - 1
  nowMs += AUTHORITY_GRACE_MS + 500
  for (let count = 0; count < AUTHORITY_GRACE_REJECTIONS_MAX; count++) {
    expect(rejections.note(registry, docker, beganAtMs)).toBe(0)
    expect(rejections.has(registry, docker)).toBe(false)
  }
  expect(rejections.note(registry, docker, beganAtMs)).toBe(TUNNEL_FIRST_MS)
  expect(rejections.has(registry, docker)).toBe(true)
  expect(rejections.note(registry, curl, beganAtMs)).toBe(0)
  expect(rejections.note(registry, mallory, beganAtMs + 1)).toBe(TUNNEL_FIRST_MS)
})

test('nobody waits for the kernel where a program accepted and none rejected', () => {
  let nowMs = 0
  const rejections = new Rejections(() => nowMs)
  expect(rejections.isInDoubt(registry)).toBe(true)
  rejections.clear(registry, docker)
  expect(rejections.isInDoubt(registry)).toBe(false)
  rejections.note(registry, undefined)
  expect(rejections.isInDoubt(registry)).toBe(true)
  nowMs += TUNNEL_FIRST_MS
  expect(rejections.isInDoubt(registry)).toBe(false)
  rejections.note(registry, curl)
  expect(rejections.isInDoubt(registry)).toBe(true)
  expect(rejections.isInDoubt(parseRegistryHost('other.example'))).toBe(true)
  nowMs += TUNNEL_FIRST_MS + REJECTION_KEPT_MS
  rejections.forgetOld()
  expect(rejections.isInDoubt(registry)).toBe(true)
  nowMs += 1
  rejections.forgetOld()
  expect(rejections.isInDoubt(registry)).toBe(false)
})
