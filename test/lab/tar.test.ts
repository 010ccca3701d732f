import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { TAR_END, TarReader, tarHeader, tarPadding } from '../../lab/image/tar.ts'

interface File {
  name: string
  content: Buffer
}

function archiveOf(files: File[]): Buffer {
  const parts = files.flatMap(({ name, content }) => [
    tarHeader({ name, mode: 0o644, bytes: content.length }),
    content,
    tarPadding(content.length),
  ])
  return Buffer.concat([...parts, TAR_END])
}

function filesIn(archive: Buffer, chunkBytes: number): File[] {
  const files: File[] = []
  const reader = new TarReader((name) => {
    const chunks: Buffer[] = []
    return {
      data: (chunk) => void chunks.push(chunk),
      end: () => void files.push({ name, content: Buffer.concat(chunks) }),
    }
  })
  for (let at = 0; at < archive.length; at += chunkBytes) reader.push(archive.subarray(at, at + chunkBytes))
  return files
}

const file = fc.record({
  name: fc.stringMatching(/^[a-z0-9/._-]{1,100}$/),
  content: fc.uint8Array({ maxLength: 2000 }).map((bytes) => Buffer.from(bytes)),
})

test('what is written to an archive is read from it, however the stream is cut', () => {
  fc.assert(
    fc.property(fc.array(file, { maxLength: 5 }), fc.integer({ min: 1, max: 1500 }), (files, chunkBytes) => {
      expect(filesIn(archiveOf(files), chunkBytes)).toEqual(files)
    }),
    { numRuns: 60 },
  )
})

test('tar itself reads our archives', () => {
  const archive = archiveOf([
    { name: 'hello', content: Buffer.from('x') },
    { name: 'dir/data', content: Buffer.alloc(1234, 7) },
  ])
  const listing = execFileSync('tar', ['-tvf', '-'], { input: archive, encoding: 'utf8' })
  expect(listing).toMatch(
    /-rw-r--r-- 0\/0 +1 1970-01-01 \S+ hello\n-rw-r--r-- 0\/0 +1234 1970-01-01 \S+ dir\/data\n/,
  )
})

test("we read tar's own archives", () => {
  const archive = execFileSync('tar', ['-cf', '-', '--format=gnu', '-C', import.meta.dirname, 'tar.test.ts'])
  expect(filesIn(archive, 700).map(({ name }) => name)).toEqual(['tar.test.ts'])
})

test('a stream that is no archive is an error', () => {
  const reader = new TarReader(() => undefined)
  expect(() => reader.push(Buffer.alloc(512, 'x'))).toThrow(RangeError)
})

test('a name that does not fit into the header is refused', () => {
  expect(() => tarHeader({ name: 'x'.repeat(101), mode: 0o644, bytes: 1 })).toThrow(RangeError)
})
