import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { listenOwnerOnly } from '../../core/socket-file.ts'
import { Control, callGuard } from '../../guard/control.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-socket-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const modeOf = (path: string) => statSync(path).mode & 0o777

describe('a socket for its owner only', () => {
  it('has its mode from the first moment, and leaves the umask as it was', async () => {
    const path = join(folder, 'one.sock')
    const umask = process.umask()
    const server = createServer()
    const listening = listenOwnerOnly(server, path)
    expect([modeOf(path), process.umask()]).toEqual([0o600, umask])
    await listening
    await expect(listenOwnerOnly(createServer(), path)).rejects.toMatchObject({ code: 'EADDRINUSE' })
    server.close()
  })

  it('is what the guard has', async () => {
    const path = join(folder, 'guard.sock')
    const control = new Control(path, { start() {}, stop() {}, status: () => ({ node: 'off' }) })
    const listening = control.listen()
    expect(modeOf(path)).toBe(0o600)
    await listening
    expect(await callGuard(path, 'status')).toEqual({ node: 'off' })
    control.close()
    await expect(callGuard(path, 'status')).rejects.toMatchObject({ code: 'GUARD_DOWN' })
  })
})
