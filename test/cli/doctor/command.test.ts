import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { runShoal } from '../run-shoal.ts'

/** The program, on a machine where nothing is set up. */

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-doctor-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const nowhere = () => [
  ...['--config-file', join(folder, 'none.json'), '--data-dir', join(folder, 'data')],
  ...['--control', join(folder, 'guard.sock')],
]

test('without a node and without settings it says what is missing, and exits with 1', async () => {
  const { code, stdout, stderr } = await runShoal(['doctor', ...nowhere()])
  expect([code, stderr]).toEqual([1, ''])
  expect(stdout).toContain('(NODE_DOWN)')
  expect(stdout).toContain('(NO_REGISTRIES)')
  expect(stdout).toMatch(/^● \d errors?(, \d warnings?)?\./m)
  expect(Math.max(...stdout.split('\n').map(({ length }) => length))).toBeLessThanOrEqual(100)
})

test('a script reads the same as JSON, with stable codes', async () => {
  const path = join(folder, 'node.json')
  writeFileSync(
    path,
    '{"registries": "registry.invalid", "proxyListen": "127.0.0.1:9", "trackerUrl": "https://127.0.0.1:9"}',
  )
  const { code, stdout } = await runShoal(['doctor', '--json', ...nowhere(), '--config-file', path])
  expect(code).toBe(1)
  const { worst, links } = JSON.parse(stdout)
  expect(worst).toBe('error')
  const codes = links.flatMap(({ findings }: { findings: { code?: string }[] }) =>
    findings.flatMap(({ code }) => code ?? []),
  )
  expect(codes).toEqual(expect.arrayContaining(['NODE_DOWN', 'REGISTRY_UNREACHABLE', 'TRACKER_UNREACHED']))
})

test('an id that is none is a mistake in the command line', async () => {
  const { code, stderr } = await runShoal(['doctor', '--node', 'web1'])
  expect(code).toBe(2)
  expect(stderr).toContain('40 hex digits')
})
