import { expect, test } from 'vitest'
import { parseRuntimesOptions, runtimesUsage } from '../../bench/runtimes/options.ts'
import { problemOf, renderRuns } from '../../bench/runtimes/report.ts'
import { RUNTIME_CLIENTS } from '../../lab/runtimes/clients.ts'
import type { ClientRun } from '../../lab/runtimes/measure-client.ts'

const NAMES = ['dockerd', 'podman']
const GOOD: ClientRun = {
  ...{ client: 'podman', version: '5.4.2', configuration: 'HTTPS_PROXY' },
  ...{ ok: true, registryCopies: 1, peerShare: 1 },
}

test('without flags, every client of every release is measured', () => {
  expect(parseRuntimesOptions([], NAMES)).toEqual({
    ...{ isJson: false, isHelp: false, suites: ['trixie', 'sid'], clients: [] },
  })
})

test('releases and clients can be chosen, and others are refused', () => {
  const chosen = ['--suite', 'sid', '--client', 'podman', '--client', 'podman', '--json']
  expect(parseRuntimesOptions(chosen, NAMES)).toMatchObject({
    ...{ isJson: true, suites: ['sid'], clients: ['podman'] },
  })
  for (const argv of [['--suite', 'buster'], ['--client', 'rkt'], ['--loud'], ['more']]) {
    expect(() => parseRuntimesOptions(argv, NAMES)).toThrow(expect.objectContaining({ code: 'USAGE' }))
  }
  expect(runtimesUsage(NAMES)).toContain('dockerd, podman')
})

test('a row meets its bars with one copy for two nodes, nearly all of the second’s from peers', () => {
  expect(problemOf(GOOD)).toBeUndefined()
  expect(problemOf({ ...GOOD, registryCopies: 1.06 })).toContain('copies')
  expect(problemOf({ ...GOOD, peerShare: 0.94 })).toContain('from peers')
  expect(problemOf({ ...GOOD, ok: false, problem: 'x509' })).toBe('x509')
})

test('the table has a line for every row, with what is wrong', () => {
  const lines = renderRuns([GOOD, { ...GOOD, ok: false, problem: 'x509' }]).split('\n')
  expect(lines).toHaveLength(3)
  expect(lines[1]).toMatch(/^podman\s+5\.4\.2\s+HTTPS_PROXY\s+1\.00\s+1\.00\s+ok$/)
  expect(lines[2]).toMatch(/x509$/)
})

test('no two rows of the table look the same', () => {
  const rows = RUNTIME_CLIENTS.map(({ client, suite, configuration, tokens }) =>
    JSON.stringify([client, suite, configuration, tokens]),
  )
  expect(new Set(rows).size).toBe(rows.length)
})
