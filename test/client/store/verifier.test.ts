import { createHash, randomBytes } from 'node:crypto'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { BlobFile } from '../../../client/store/blob-file.ts'
import { QUIET_MS, Verifier } from '../../../client/store/verifier.ts'
import { noteDefects } from '../../core/noted-defects.ts'

/** A real thread and a real file; jobs that no code gives it make it fail. */
const PIECE_BYTES = 256 * 1024
let folder: string
let file: BlobFile
let verifier: Verifier
let noted: ReturnType<typeof noteDefects>

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-verifier-'))
  file = { fd: openSync(join(folder, 'data'), 'w+'), bytes: 2 * PIECE_BYTES, key: undefined }
  noted = noteDefects()
  verifier = new Verifier(noted.defects)
})
afterEach(async () => {
  await verifier.close()
  closeSync(file.fd)
  rmSync(folder, { recursive: true })
})

const bufferOf = (bytes: Buffer) => ({
  bytes: new Uint8Array(bytes),
  pieceBytes: bytes.length,
  isSecond: false,
})
const hashOf = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

function verify(bytes: Buffer, position: number, changes: object = {}): Promise<string> {
  const job = { length: bytes.length, file, position, expected: hashOf(bytes), whole: undefined, ...changes }
  return verifier.piece(bufferOf(bytes), job)
}

test('an unexpected failure costs its job only, and is reported with its stack', async () => {
  const bytes = randomBytes(PIECE_BYTES)
  await expect(verify(bytes, 0, { file: null })).rejects.toMatchObject({ code: 'DEFECT' })
  expect(noted.places).toEqual(['verify_job'])
  expect(noted.lines[0]).toMatchObject({ err: { stack: expect.stringContaining('verify-worker.ts') } })
  expect(await verify(bytes, 0)).toBe(hashOf(bytes))
  expect(readFileSync(join(folder, 'data')).equals(bytes)).toBe(true)
})

test('a full disk is no defect', async () => {
  const bytes = randomBytes(PIECE_BYTES)
  const readOnly = { ...file, fd: openSync(join(folder, 'data'), 'r') }
  await expect(verify(bytes, 0, { file: readOnly })).rejects.toMatchObject({ code: 'STORE_WRITE' })
  closeSync(readOnly.fd)
  await expect(verifier.advanceWhole(verifier.beginWhole(), file, 1)).rejects.toMatchObject({
    code: 'STORE_WRITE',
  })
  expect(noted.places).toEqual([])
})

test('a thread that ends costs its jobs; the next one continues, also with whole blobs', async () => {
  const [first, second] = [randomBytes(PIECE_BYTES), randomBytes(PIECE_BYTES)]
  const whole = verifier.beginWhole()
  await verify(first, 0, { whole })
  // SHA-1 in steps of nothing: it collects hashes until its memory has ended.
  const ended = verifier.sha1OfPieces(file, { blobBytes: 1, pieceBytes: 0, pieceCount: 1 })
  const waiting = verify(second, PIECE_BYTES, { whole })
  await expect(ended).rejects.toMatchObject({ code: 'DEFECT' })
  await expect(waiting).rejects.toMatchObject({ code: 'DEFECT' })
  expect(noted.places).toEqual(['verify_job'])
  await verify(second, PIECE_BYTES, { whole })
  await verifier.advanceWhole(whole, file, 2 * PIECE_BYTES)
  expect(await verifier.endWhole(whole)).toBe(hashOf(Buffer.concat([first, second])))
})

test('work that no pull waits for begins when pieces have ceased to come, one after the other', async () => {
  const beganAtMs = performance.now()
  const ranAtMs: number[] = []
  await verify(randomBytes(PIECE_BYTES), 0)
  let running = 0
  const work = async () => {
    running += 1
    expect(running).toBe(1)
    ranAtMs.push(performance.now() - beganAtMs)
    await wait(50)
    running -= 1
  }
  const both = Promise.all([verifier.whenQuiet(work), verifier.whenQuiet(work)])
  await wait(500)
  await verify(randomBytes(PIECE_BYTES), 0)
  await both
  expect(ranAtMs).toHaveLength(2)
  expect(ranAtMs[0]).toBeGreaterThanOrEqual(QUIET_MS + 490)
  expect(ranAtMs[0]).toBeLessThan(QUIET_MS + 2_000)
}, 10_000)

test('without pieces nothing waits', async () => {
  const beganAtMs = performance.now()
  await verifier.whenQuiet(async () => undefined)
  expect(performance.now() - beganAtMs).toBeLessThan(QUIET_MS / 2)
})

test('there is a thread from the first work until none came for a while', async () => {
  const own = new Verifier(noted.defects, 50)
  expect(own.hasThread).toBe(false)
  const bytes = randomBytes(PIECE_BYTES)
  const whole = own.beginWhole()
  await own.piece(bufferOf(bytes), { length: bytes.length, file, position: 0, expected: undefined, whole })
  await wait(200)
  // It has the state of a blob's hash.
  expect(own.hasThread).toBe(true)
  await own.advanceWhole(whole, file, PIECE_BYTES)
  expect(await own.endWhole(whole)).toBe(hashOf(bytes))
  await expect.poll(() => own.hasThread).toBe(false)
  expect(await own.hash(bufferOf(bytes), bytes.length)).toBe(hashOf(bytes))
  await own.close()
  await expect(own.hash(bufferOf(bytes), bytes.length)).rejects.toThrow('closed')
  expect(noted.places).toEqual([])
})
