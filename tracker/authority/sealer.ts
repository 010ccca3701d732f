import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto'
import { StoreConflictError, UnlockKeyError, UnsealError } from '../errors.ts'
import type { ActedBy, Reseal, SealedKind, Store } from '../store/store.ts'

/**
 * Secrets at rest (docs/security.md, "Stolen disk"): AES-256-GCM with the data key, which the unlock key seals. A sealed value
 * is `version (1 byte) | nonce (12) | ciphertext | tag (16)`. Its place is authenticated too, so that a value that was
 * moved to another place does not open. Rows that are many and no secret carry a mark instead: an HMAC-SHA256 over place and
 * content, with a key that is derived from the data key. After the data key is replaced they no longer count.
 */

const CIPHER = 'aes-256-gcm'
const VERSION = 1
const NONCE_BYTES = 12
const TAG_BYTES = 16
const KEY_BYTES = 32
const UNLOCK_KEY = /^SHOALKEY-1-([A-Za-z0-9_-]{43})$/
const DATA_KEY_PLACE = 'data-key'
const PLACES = {
  joinToken: (cluster: string) => `join token of ${cluster}`,
  authority: (cluster: string) => `authority key of ${cluster}`,
  batchKey: (cluster: string) => `batch key of ${cluster}`,
  adminAuthority: () => 'admin authority key',
  adminToken: () => 'admin token',
  tokenKey: () => 'token key',
} satisfies Record<SealedKind, (cluster: string) => string>

/** Rows that count only with a seal of this tracker. */
const MAY_BE_FOREIGN: ReadonlySet<SealedKind> = new Set(['adminToken', 'tokenKey'])

/** The place of a sealed value. @param cluster any text for the admin authority's key */
export function placeOf(kind: SealedKind, cluster: string): string {
  return PLACES[kind](cluster)
}

export class Sealer {
  #key: Buffer
  #markKey: Buffer | undefined
  #turn: Promise<unknown> = Promise.resolve()

  /** @param key 32 bytes */
  constructor(key: Buffer) {
    this.#key = key
  }

  /** @param place names the value, for example `cluster c0… join token`; needed again to open it */
  seal(place: string, plain: Buffer): Buffer {
    const nonce = randomBytes(NONCE_BYTES)
    const cipher = createCipheriv(CIPHER, this.#key, nonce)
    cipher.setAAD(Buffer.from(place))
    const body = Buffer.concat([cipher.update(plain), cipher.final()])
    return Buffer.concat([Buffer.from([VERSION]), nonce, body, cipher.getAuthTag()])
  }

  /** Seals and opens with another key from now on; for `reseal`. */
  rekey(key: Buffer): void {
    this.#key = key
    this.#markKey = undefined
  }

  /** Seals and opens from now on as that one does. */
  adopt(other: Sealer): void {
    this.rekey(other.#key)
  }

  /** A mark that only holders of the data key can make. @param place as for `seal` */
  mark(place: string, content: string): Buffer {
    this.#markKey ??= derived(this.#key, 'shoal-mark-v1')
    return createHmac('sha256', this.#markKey).update(`${place}\0${content}`).digest()
  }

  isMark(mark: Buffer, place: string, content: string): boolean {
    const own = this.mark(place, content)
    return own.length === mark.length && timingSafeEqual(own, mark)
  }

  /** Seal and store in one turn: no value sealed with an earlier data key may be stored. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => undefined)
    return done
  }

  /** Whether `open` opens it. */
  isSealed(place: string, sealed: Buffer): boolean {
    try {
      this.open(place, sealed)
      return true
    } catch (error) {
      if (error instanceof UnsealError) return false
      throw error
    }
  }

  /** @throws UnsealError if it was altered, or sealed with another key or for another place */
  open(place: string, sealed: Buffer): Buffer {
    try {
      if (sealed[0] !== VERSION) throw new Error(`unknown version ${sealed[0]}`)
      const decipher = createDecipheriv(CIPHER, this.#key, sealed.subarray(1, 1 + NONCE_BYTES), {
        authTagLength: TAG_BYTES,
      })
      decipher.setAAD(Buffer.from(place))
      decipher.setAuthTag(sealed.subarray(-TAG_BYTES))
      return Buffer.concat([decipher.update(sealed.subarray(1 + NONCE_BYTES, -TAG_BYTES)), decipher.final()])
    } catch (cause) {
      throw new UnsealError(`cannot open the sealed ${place}`, { cause })
    }
  }
}

/**
 * Opens the sealer with this store's data key, or makes the key at the first start.
 * @param unlockKey `SHOALKEY-1-` and 32 bytes in base64url
 * @throws UnlockKeyError when the key is malformed or did not seal this store
 */
export async function openSealer(store: Store, unlockKey: string): Promise<Sealer> {
  const unlocker = new Sealer(unlockKeyBytes(unlockKey))
  const sealed = (await store.sealedDataKey()) ?? (await makeDataKey(store, unlocker))
  try {
    const opened = new Sealer(unlocker.open(DATA_KEY_PLACE, sealed))
    store.usesDataKey(sealed)
    return opened
  } catch (cause) {
    throw new UnlockKeyError("the unlock key did not seal this tracker's data", {
      cause,
      hint: 'Give the unlock key file that was made with this data folder.',
    })
  }
}

export interface UnlockKeys {
  /** The current key, as proof: access to the admin API does not imply access to the key that opens the store's file. */
  unlockKey: string
  /** If absent, the current key stays. */
  newUnlockKey?: string | undefined
}

/**
 * Makes a new data key and seals everything with it in one step of the store. Seals the data key with another unlock key
 * if one is given.
 * @returns how many values it sealed
 * @throws UnlockKeyError and changes nothing
 */
export function reseal(store: Store, sealer: Sealer, keys: UnlockKeys, by: ActedBy): Promise<number> {
  return sealer.inTurn(async () => {
    // Another tracker may have replaced the data key.
    sealer.adopt(await openSealer(store, keys.unlockKey))
    const unlocker = new Sealer(unlockKeyBytes(keys.newUnlockKey ?? keys.unlockKey))
    const key = randomBytes(KEY_BYTES)
    const next = new Sealer(key)
    let count = 0
    const again: Reseal = (kind, cluster, sealed) => {
      const place = placeOf(kind, cluster)
      // A row that somebody else wrote does not count, and must not stop a change of the key.
      if (MAY_BE_FOREIGN.has(kind) && !sealer.isSealed(place, sealed)) return sealed
      count += 1
      return next.seal(place, sealer.open(place, sealed))
    }
    await store.replaceDataKey(unlocker.seal(DATA_KEY_PLACE, key), again, {
      atMs: by.nowMs,
      actor: by.actor,
      action: 'secrets sealed anew',
      cluster: null,
      target: keys.newUnlockKey === undefined ? 'data key' : 'data key and unlock key',
    })
    sealer.rekey(key)
    return count
  })
}

async function makeDataKey(store: Store, unlocker: Sealer): Promise<Buffer> {
  const sealed = unlocker.seal(DATA_KEY_PLACE, randomBytes(KEY_BYTES))
  try {
    await store.putSealedDataKey(sealed)
    return sealed
  } catch (error) {
    // Another tracker on the same store made a key first: use it.
    const theirs = error instanceof StoreConflictError ? await store.sealedDataKey() : undefined
    if (theirs === undefined) throw error
    return theirs
  }
}

function unlockKeyBytes(unlockKey: string): Buffer {
  const text = UNLOCK_KEY.exec(unlockKey)?.[1]
  if (text === undefined) {
    throw new UnlockKeyError('the unlock key is malformed', {
      hint: 'A key looks like SHOALKEY-1-…; `shoal certs unlock-key` makes one.',
    })
  }
  return derived(Buffer.from(text, 'base64url'), 'shoal-unlock-v1')
}

function derived(secret: Buffer, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, Buffer.alloc(0), purpose, KEY_BYTES))
}
