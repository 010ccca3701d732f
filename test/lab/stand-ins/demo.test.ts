import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'

/** `npm run demo` where a program on the PATH is not found: what a machine with Node alone has. */

const PROGRAM = fileURLToPath(new URL('../../../lab/demo/main.ts', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'shoal-demo-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function demo(...flags: string[]) {
  const env = { PATH: join(folder, 'none'), TMPDIR: folder, HOME: folder }
  const child = spawn(process.execPath, [PROGRAM, ...flags], { env })
  const seen = { output: '', errors: '' }
  child.stdout.on('data', (chunk) => (seen.output += chunk))
  child.stderr.on('data', (chunk) => (seen.errors += chunk))
  const exit = new Promise<number | null>((resolve) => child.once('close', resolve))
  return { child, seen, exit }
}

test('without the real parts, stand-ins tell the same story, and the line that installs the parts is said', async () => {
  const { exit, seen } = demo('--json', '--image-mib', '8')
  expect(await exit, seen.errors).toBe(0)
  const report = JSON.parse(seen.output)
  expect(report.ok).toBe(true)
  expect(report.registryEgressBytes).toBe(report.blobBytes)
  expect(report.nodes.map(({ client }: { client: string }) => client)).toEqual(Array(3).fill('stand-in'))
  for (const { digestVerified } of report.nodes) expect(digestVerified).toBe(true)
  for (const { peerBytes } of report.nodes.slice(1)) expect(peerBytes).toBe(report.blobBytes)
  expect(report.refusals).toEqual([
    expect.objectContaining({ answer: 'refused: 401', bytes: 0, isAsExpected: true }),
    expect.objectContaining({ answer: 'refused: 401', bytes: 0, isAsExpected: true }),
    expect.objectContaining({ who: 'node4, of another cluster', bytes: 0, isAsExpected: true }),
  ])
  const standIns = report.parts.filter(({ isStandIn }: { isStandIn: boolean }) => isStandIn)
  expect(standIns.map(({ wouldBe }: { wouldBe: string }) => wouldBe)).toEqual([
    ...['docker-registry', 'dockerd', 'skopeo', 'podman', 'a namespace for each'],
  ])
  expect(seen.errors).toContain('are stand-ins')
  expect(seen.errors).toMatch(/sudo apt-get install -y .*docker-registry/)
  expect(readdirSync(folder)).toEqual([])
})

test('--real ends with what is missing and how to get it, and starts nothing', async () => {
  const { exit, seen } = demo('--real')
  expect(await exit).toBe(1)
  expect(seen.output).toBe('')
  expect(seen.errors).toMatch(/^demo: this machine lacks: .*docker-registry/)
  expect(seen.errors).toMatch(/\nhint: On Debian or Ubuntu: sudo apt-get install -y .*docker-registry/)
})

test('after SIGINT, everything that it started is gone', async () => {
  const { child, exit, seen } = demo('--stand-ins', '--image-mib', '8')
  await new Promise<void>((resolve) => {
    child.stdout.on('data', () => seen.output.includes('starting: nodes') && resolve())
    child.once('close', () => resolve())
  })
  child.kill('SIGINT')
  expect(await exit, seen.output).toBe(130)
  expect(readdirSync(folder)).toEqual([])
})
