import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { startShoal } from './cli/run-shoal.ts'

const folder = mkdtempSync(join(tmpdir(), 'shoal-stray-'))
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** Loaded before the program: at SIGUSR2 something fails that belongs to no connection, request or job. */
const FAULTS = `process.on('SIGUSR2', () => {
  setTimeout(() => { throw new TypeError('injected timer') })
  Promise.reject(new RangeError('injected promise'))
  setTimeout(() => { throw null })
})`
const listeners = ['listen', 'tracker-admin-listen', 'proxy-listen', 'admin-listen', 'peer-listen']
const flags = [
  'up',
  ...listeners.map((name) => `--${name}=127.0.0.1:0`),
  `--data-dir=${join(folder, 'data')}`,
  '--docker-certs-dir=none',
  '--registries=registry.example.com',
]

it('errors that belong to nothing are told and counted, and the program goes on until it is stopped', async () => {
  const preload = `--import=data:text/javascript,${encodeURIComponent(FAULTS)}`
  const up = startShoal(flags, { env: { NODE_OPTIONS: preload } })
  const guide = await up.printed('Undo:')
  const admin = new URL(/health +(http:\S+)/.exec(guide)?.[1] ?? '').origin
  up.child.kill('SIGUSR2')
  const metrics = async () => (await fetch(`${admin}/metrics`)).text()
  await expect.poll(metrics, { timeout: 5000 }).toContain('shoal_defects_total{where="process"} 3')
  expect((await fetch(`${admin}/healthz`)).status).toBe(200)
  up.child.kill('SIGTERM')
  const { code, stderr } = await up.outcome
  expect(code).toBe(0)
  const defects = stderr.split('\n').filter((line) => line.includes('"code":"DEFECT"'))
  expect(defects.map((line) => JSON.parse(line).err.message).sort()).toEqual([
    'injected promise',
    'injected timer',
    'thrown: object',
  ])
  expect(JSON.parse(defects[0]!).err.stack).toContain('\n    at ')
})
