import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ANSWER_BYTES_MAX, callGuard } from '../../guard/control.ts'
import { guardStatusCommand } from '../../guard/main.ts'

/** Somebody who answers at the guard's socket in its place. */

let folder: string
let path: string
let server: Server
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-control-'))
  path = join(folder, 'guard.sock')
})
afterEach(() => {
  server.close()
  rmSync(folder, { recursive: true })
})

const answering = (text: string | Buffer) =>
  new Promise<void>((resolve) => {
    server = createServer((socket) => socket.on('error', () => undefined).end(text)).listen(path, resolve)
  })

test('moves no cursor of who asks for its status', async () => {
  await answering('{"node":"\u009b2J\u202e"}\n')
  const text = await guardStatusCommand.run({ control: path } as never, [], {} as never)
  expect(text).toBe('{"node":"\\u009b2J\\u202e"}\n')
})

test('fills no memory', async () => {
  await answering(Buffer.alloc(ANSWER_BYTES_MAX + 1, 'x'))
  await expect(callGuard(path, 'status')).rejects.toThrow('too long')
})

test('ends no command with a defect', async () => {
  await answering('no json\n')
  await expect(callGuard(path, 'status')).rejects.toMatchObject({
    message: expect.stringContaining('no JSON'),
  })
})
