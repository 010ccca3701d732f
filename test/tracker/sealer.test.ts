import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { openSealer, Sealer } from '../../tracker/authority/sealer.ts'
import { SqliteStore } from '../../tracker/store/sqlite-store.ts'
import { newUnlockKey } from './test-tracker.ts'

describe('a sealed value', () => {
  const sealer = new Sealer(randomBytes(32))
  const unseal = { code: 'UNSEAL' }

  it('opens to what was sealed, and never looks the same twice', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const plain = Buffer.from(bytes)
        const sealed = sealer.seal('here', plain)
        expect(sealer.open('here', sealed).equals(plain)).toBe(true)
        expect(sealer.seal('here', plain).equals(sealed)).toBe(false)
      }),
    )
  })

  it('does not open in another place, with another key, or altered anywhere', () => {
    const sealed = sealer.seal('here', Buffer.from('secret'))
    expect(() => sealer.open('there', sealed)).toThrow(expect.objectContaining(unseal))
    expect(() => new Sealer(randomBytes(32)).open('here', sealed)).toThrow(expect.objectContaining(unseal))
    for (let at = 0; at < sealed.length; at += 1) {
      const altered = Buffer.from(sealed)
      altered[at]! ^= 1
      expect(() => sealer.open('here', altered)).toThrow(expect.objectContaining(unseal))
      expect(() => sealer.open('here', sealed.subarray(0, at))).toThrow(expect.objectContaining(unseal))
    }
  })
})

describe('the data key', () => {
  it('is the same for two trackers that start on one store, and opens with its unlock key only', async () => {
    const store = new SqliteStore(':memory:')
    const unlockKey = newUnlockKey()
    const [one, two] = await Promise.all([openSealer(store, unlockKey), openSealer(store, unlockKey)])
    expect(two.open('here', one.seal('here', Buffer.from('secret'))).toString()).toBe('secret')
    await expect(openSealer(store, newUnlockKey())).rejects.toMatchObject({ code: 'UNLOCK_KEY' })
    await store.close()
  })
})
